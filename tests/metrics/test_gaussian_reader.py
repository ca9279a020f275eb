"""The Gaussian reader against counted errors, and its bad input."""

import pytest
import torch

from passband.metrics.gaussian_reader import Moments, error_rates, log_errors, moments


def drawn(shift, scale, seed, count=200_000):
    """Features of film and particles that are Gaussian, and their moments."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.tensor([[1.0, 0.4, 0.0], [0.0, 1.0, 0.3], [0.2, 0.0, 1.0]], dtype=torch.float64)
    film, particle = (torch.randn(count, 3, generator=generator, dtype=torch.float64) @ mixing for _ in range(2))
    film, particle = film + shift, scale * particle + torch.tensor([0.4, 0.2, 0.3]) + shift
    share = torch.tensor([0.2], dtype=torch.float64)
    return (
        film,
        particle,
        Moments(film.mean(0)[None], particle.mean(0)[None], film.T.cov()[None], particle.T.cov()[None], share),
    )


def test_error_rates_are_those_that_are_counted(monkeypatch):
    monkeypatch.setattr("passband.metrics.gaussian_reader._SURROUNDINGS", 1.0)
    monkeypatch.setattr("passband.metrics.gaussian_reader._SHRINKAGE", 0.0)
    film, particle, train = drawn(0.0, 1.0, 1)
    other_film, other_particle, test = drawn(0.3, 1.5, 2)
    weights = torch.linalg.solve((film.T.cov() + particle.T.cov()) / 2, particle.mean(0) - film.mean(0))
    a, b = film @ weights, particle @ weights
    boundary = (a.mean() * b.std() + b.mean() * a.std()) / (a.std() + b.std())
    for f, p, other in ((film, particle, train), (other_film, other_particle, test)):
        called_film, missed = error_rates(train, other)
        assert abs(float(called_film) - float((f @ weights > boundary).double().mean())) < 0.005
        assert abs(float(missed) - float((p @ weights <= boundary).double().mean())) < 0.005
        expected = 0.8 * called_film + 0.2 * missed
        torch.testing.assert_close(log_errors(train, other), expected.log())


def test_pairs_in_one_go_are_those_one_by_one():
    sets = [drawn(shift, 1.0, seed, 2000)[2] for shift, seed in ((0.0, 1), (0.2, 2), (-0.5, 3))]
    both = Moments.joined(sets)
    together = log_errors(both, both)
    for i, a in enumerate(sets):
        for j, b in enumerate(sets):
            torch.testing.assert_close(together[i, j], log_errors(a, b)[0, 0])


def test_moments_of_images_tell_texture_from_film_and_need_both():
    generator = torch.Generator().manual_seed(3)
    x = torch.arange(96) * 0.4
    fringes = 2 * torch.sin(2 * torch.pi * 0.4 * x)[None, None]
    masks = torch.zeros(4, 96, 96, dtype=torch.bool)
    masks[:, 30:60, 30:60] = True
    images = torch.randn(4, 96, 96, generator=generator) + fringes * masks
    images = (images - images.mean((1, 2), keepdim=True)) / images.std((1, 2), keepdim=True)
    seen = moments(images, masks, 0.4)
    assert seen.film.shape == (1, 33)
    assert float(log_errors(seen, seen)) < -5
    with pytest.raises(ValueError, match="particles and of film"):
        moments(images, torch.zeros_like(masks), 0.4)
