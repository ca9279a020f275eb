import math

import pytest
import torch

from passband.base.frequencies import disc_indices, polar_band


def test_disc_keeps_the_rim_and_nothing_beyond():
    k = disc_indices(3.0)
    expected = {(x, y) for x in range(-4, 5) for y in range(-4, 5) if math.hypot(x, y) <= 3}
    assert {tuple(row) for row in k.tolist()} == expected
    assert len(k) == len(expected)


def test_polar_band_integrates_over_the_disc():
    # Mean over the disc of radius Q: |q|² is Q²/2, cos²(k·q) is ½ + J1(2kQ)/(2kQ).
    from scipy.special import j1

    qx, qy = polar_band(1.3)
    assert (qx**2 + qy**2).mean().item() == pytest.approx(1.3**2 / 2, rel=1e-9)
    k = 9.0
    assert torch.cos(k * qx).square().mean().item() == pytest.approx(0.5 + j1(2 * k * 1.3) / (2 * k * 1.3), abs=2e-5)
