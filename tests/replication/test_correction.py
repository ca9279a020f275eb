"""Residuals carried to what looks alike, on made-up domains."""

import numpy as np
from scipy.stats import spearmanr

from replication.correction import corrected


def made_up(seed=0, count=12):
    rng = np.random.default_rng(seed)
    places = rng.uniform(-1, 1, (count, 2))
    reader = np.abs(places[:, None, 0] - places[None, :, 0])
    truth = reader + 0.8 * places[None, :, 1] - 0.5 * places[:, None, 1]
    return places, reader, truth


def test_what_the_prediction_lacks_is_learnt_from_known_pairs():
    places, reader, truth = made_up()
    train, test = [0, 2, 3, 5, 7, 8], [1, 2, 4, 6, 7, 9]
    better = corrected(reader, places, train, test, truth[np.ix_(train, test)])
    unknown = np.ix_([1, 4, 6, 9, 10, 11], [0, 3, 5, 8, 10, 11])
    before, after = (spearmanr(p[unknown].ravel(), truth[unknown].ravel()).statistic for p in (reader, better))
    assert after > max(0.85, before + 0.1)


def test_a_perfect_prediction_stays():
    places, _, truth = made_up(1)
    train = test = [0, 1, 2, 3, 4]
    np.testing.assert_allclose(corrected(truth, places, train, test, truth[:5, :5] + 3.0), truth, atol=1e-12)
