"""Poisson numbers against the distribution function, in double precision."""

import numpy as np
import pytest
import torch
from scipy import special, stats

from passband.simulation.poisson import _quantile, fast_poisson

RNG = np.random.default_rng(0)


def draw(mean, seed=0):
    return fast_poisson(mean, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("least", "largest"), [(4, 6), (6, 12), (12, 40), (40, 400), (400, 20_000)])
def test_a_number_is_the_quantile_of_its_normal_number(least, largest):
    """At random places, in the tails, and one part in a million beside the borders between two counts."""
    mean = torch.from_numpy(RNG.uniform(least, largest, 200_000)).float()
    at = mean.double().numpy()
    border = special.ndtri(special.gammaincc(RNG.poisson(at) + 1, at)) + 1e-6 * RNG.choice([-1, 1], len(at))
    places = [RNG.normal(size=len(at)), RNG.uniform(-5.8, 5.8, len(at)), np.clip(border, -5.8, 5.8)]
    for w in (torch.from_numpy(p).float() for p in places):
        count, uniform = _quantile(w, mean).double().numpy(), special.ndtr(w.double().numpy())
        below = np.where(count > 0, special.gammaincc(np.maximum(count, 1), at), 0.0)
        assert ((below <= uniform) & (uniform < special.gammaincc(count + 1, at))).all()


@pytest.mark.parametrize("mean", [0.5, 4.0, 7.3, 80.0, 3e4])
def test_counts_occur_as_often_as_they_should(mean):
    counts = draw(torch.full((400_000,), mean)).numpy()
    edges = np.unique(stats.poisson.ppf(np.linspace(0, 1, 22)[1:-1], mean))
    observed = np.bincount(np.searchsorted(edges, counts), minlength=len(edges) + 1)
    expected = np.diff([0.0, *stats.poisson.cdf(edges, mean), 1.0]) * len(counts)
    assert stats.chisquare(observed, expected).pvalue > 1e-4
    assert np.array_equal(counts, counts.round())


def test_means_of_every_size_in_one_image():
    levels = torch.tensor([0.0, 0.01, 2.0, 4.0, 30.0, 31.0, 1000.0, 5e4])
    counts = draw(levels.repeat(20_000, 1)).double()
    error = (levels / len(counts)).sqrt()
    assert ((counts.mean(0) - levels).abs() <= 4.5 * error).all()
    assert torch.allclose(counts.var(0), levels.double(), rtol=0.1)


def test_a_generator_repeats_its_numbers():
    mean = torch.full((100, 100), 50.0)
    assert torch.equal(draw(mean), draw(mean))
    assert not torch.equal(draw(mean), draw(mean, seed=1))
