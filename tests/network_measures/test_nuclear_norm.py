import pytest
import torch

from passband.network_measures.nuclear_norm import nuclear_norm
from support.logits import calibrated


def test_slow_reference():
    logits, _ = calibrated(3, 16)
    for one, value in zip(logits, nuclear_norm(logits).tolist(), strict=True):
        p = one.flatten().sigmoid().double()
        singular = torch.linalg.svdvals(torch.stack([p, 1 - p], 1))
        assert value == pytest.approx(singular.sum().item() / (2 * len(p)) ** 0.5, rel=1e-6)


def test_limits():
    certain = torch.full((1, 1, 4, 4), 1e3)
    even = certain.clone()
    even[..., :2] *= -1
    assert nuclear_norm(even).item() == pytest.approx(1)
    assert nuclear_norm(certain).item() == pytest.approx(0.5**0.5)
    assert nuclear_norm(certain * 0).item() == pytest.approx(0.5)
