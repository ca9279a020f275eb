import numpy as np
import pytest

from passband.network_measures.mano import mano
from support.logits import calibrated


@pytest.mark.parametrize(("scale", "confident"), [(1.0, False), (9.0, True)])
def test_slow_reference(scale, confident):
    """Class by class, with the normalisation that the logits' divergence from uniform asks for."""
    logits, _ = calibrated(2, 16)
    logits *= scale
    z = logits.double().numpy()
    two = np.stack([z, -z]) / 2
    softmax = np.exp(two) / np.exp(two).sum(0)
    assert (-np.log(softmax).mean() > 5) == confident
    share = softmax
    if not confident:
        polynomial = 1 + two + two**2 / 2
        share = polynomial / polynomial.sum(0)
    for i, value in enumerate(mano(logits).tolist()):
        pixels = [v**4 for v in share[:, i].flatten()]
        assert value == pytest.approx((sum(pixels) / len(pixels)) ** 0.25, rel=1e-6)


def test_certain_and_undecided():
    """From two equal shares everywhere to one of two."""
    logits, _ = calibrated(1, 8)
    assert mano(logits * 0).item() == pytest.approx(0.5)
    assert mano(logits * 1e4).item() == pytest.approx(0.5**0.25)
