import numpy as np
import pytest
from torch.nn import functional

from passband.network_measures.temperature import temperature
from support.logits import calibrated


@pytest.mark.parametrize("over", [0.4, 1.0, 3.0])
def test_overconfidence_is_measured(over):
    logits, masks = calibrated(4, 128)
    assert temperature(over * logits, masks) == pytest.approx(over, rel=0.03)


def test_slow_reference():
    logits, masks = calibrated()
    grid = np.geomspace(0.5, 2, 401)
    entropy = [functional.binary_cross_entropy_with_logits(logits / t, masks.float()).item() for t in grid]
    assert temperature(logits, masks) == pytest.approx(grid[np.argmin(entropy)], rel=0.005)


def test_a_network_that_is_never_wrong():
    logits, _ = calibrated()
    assert temperature(logits, logits > 0) == pytest.approx(0.05, rel=0.01)
