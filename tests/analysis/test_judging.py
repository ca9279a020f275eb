import numpy as np
import pytest

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs
from replication import judging


def table(n=30, seed=0):
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(2, n, n))
    y = x + 0.5 * rng.normal(size=(n, n))
    return Pairs(y, {"x": x, "z": z}), x, y


def test_against_a_plain_r2():
    pairs, x, y = table()
    off = pairs.used
    found = judging.r2(pairs, x, "loss")
    assert found.value == pytest.approx(1 - ((y - x)[off] ** 2).sum() / ((y[off] - y[off].mean()) ** 2).sum())
    assert found.low < found.value < found.high


def test_a_feature_that_says_nothing_gains_nothing():
    """The interval of the gain of pure noise holds zero, or hardly less: it is not judged by fits that saw too little."""
    gains = []
    for seed in range(8):
        pairs, _, _ = table(seed=seed)
        first, second = (Fit(pairs, names, "loss").predictions()["both"] for names in (("x",), ("x", "z")))
        gains.append(judging.gain(pairs, first, second, "loss"))
    assert all(g.low > -0.05 and g.high < 0.02 for g in gains)
    assert sum(g.high > -0.002 for g in gains) >= 6


def test_what_has_no_prediction_is_left_out():
    pairs, x, y = table()
    holes = x.copy()
    holes[3] = np.nan
    off = pairs.used.copy()
    off[3] = False
    found = judging.r2(pairs, holes, "loss")
    assert found.value == pytest.approx(1 - ((y - x)[off] ** 2).sum() / ((y[off] - y[off].mean()) ** 2).sum())
