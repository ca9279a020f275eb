import math

import pytest
import torch

from passband.network_measures.energy import average_energy, meta_distribution_energy
from support.logits import calibrated


def test_slow_references():
    logits, _ = calibrated(2, 16)
    for i, one in enumerate(logits):
        z = [-math.log(math.exp(x / 2) + math.exp(-x / 2)) for x in one.flatten().tolist()]
        assert average_energy(logits)[i] == pytest.approx(sum(z) / len(z), abs=1e-6)
        softmax = torch.tensor(z, dtype=torch.float64).softmax(0)
        expected = -softmax.log().mean().item() - math.log(len(z))
        assert meta_distribution_energy(logits)[i] == pytest.approx(expected, abs=1e-6)


def test_limits():
    """Equal energies have no dispersion; nothing overflows; classes count alike."""
    assert meta_distribution_energy(torch.full((1, 1, 8, 8), 3.0)).item() == pytest.approx(0, abs=1e-12)
    large = torch.tensor([1e4, -1e4]).reshape(1, 1, 1, 2)
    assert average_energy(large).item() == pytest.approx(-5e3)
    logits, _ = calibrated()
    assert average_energy(logits).tolist() == average_energy(-logits).tolist()
