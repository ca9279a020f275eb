"""Predictions against a known law, and intervals against how often they hold."""

import json

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from passband.verdicts.predictor import _unlikelihood, fit, restore


def cases(n, seed, noise=0.1):
    """Features of which the first two matter, and a law with noise."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 4)) * (1, 10, 1, 0) + (0, 0, 5, 7)
    truth = np.sin(x[:, 0]) + 0.05 * x[:, 1]
    return x, truth, truth + rng.normal(0, noise, n)


@pytest.fixture(scope="module")
def fitted():
    x, _, y = cases(120, 1)
    return x, y, fit(("a", "b", "c", "d"), x, y)


def test_the_law_is_found(fitted):
    _, _, predictor = fitted
    x, truth, _ = cases(300, 2)
    mean, deviation = predictor.predict(x)
    assert np.std(mean - truth) < 0.06
    assert deviation.mean() == pytest.approx(0.11, abs=0.04)
    # What does not matter is found not to: its length is far beyond its spread.
    assert predictor.lengths[2] > 3 * predictor.lengths[0]


def test_intervals_hold_as_often_as_they_say(fitted):
    _, _, predictor = fitted
    x, _, y = cases(2000, 3)
    mean, deviation = predictor.predict(x)
    for level in (0.5, 0.8, 0.9):
        share = (np.abs(y - mean) <= predictor.quantile(level) * deviation).mean()
        # The quantile of 120 residuals varies by about this much.
        assert share == pytest.approx(level, abs=2.5 * np.sqrt(level * (1 - level) / 120))
    assert predictor.quantile(0.9) == pytest.approx(norm.ppf(0.95), rel=0.3)
    assert predictor.quantile(0.999) == np.inf


def test_what_is_kept_gives_the_same_predictor(fitted):
    x, y, predictor = fitted
    again = restore(json.loads(json.dumps(predictor.to_json())), x, y)
    new, _, _ = cases(5, 4)
    for a, b in zip(predictor.predict(new), again.predict(new), strict=True):
        np.testing.assert_allclose(a, b)
    assert again.quantile(0.9) == predictor.quantile(0.9)


def test_far_from_all_that_was_seen(fitted):
    _, _, predictor = fitted
    near, _, _ = cases(200, 5)
    assert np.mean(predictor.distance(near) > 1) < 0.05
    assert predictor.distance(near + np.array([40, 0, 0, 0])).min() > 5


def test_the_likelihood_is_that_of_scikit_learn():
    x, _, y = cases(60, 6)
    reference = GaussianProcessRegressor(
        ConstantKernel(1.0) * Matern(np.ones(4), nu=2.5) + WhiteKernel(1.0), optimizer=None
    )
    reference.fit(x, y)
    for seed in range(3):
        parameters = np.random.default_rng(seed).normal(0, 1, 6)
        value, gradient = reference.log_marginal_likelihood(parameters, eval_gradient=True)
        minus, slope = _unlikelihood(parameters, x, y)
        assert -minus == pytest.approx(value) and -slope == pytest.approx(gradient, rel=1e-5, abs=1e-6)
