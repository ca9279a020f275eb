"""The Gaussian reader: the error of a linear pixel classifier under other conditions in closed form, from moments of its features.

Ours. Its features are Gaussian in film and in particles; the best linear boundary of one condition (Fisher, Ann. Eugen. 7 (1936)
179), applied under another, calls film particle and particles film with probabilities that need no pixel: only means and covariances.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from passband.metrics.reader import ring_energies, standardised

# Standard deviations over which energies are averaged [Å].
_AVERAGED = (2.0, 5.0, 10.0)
# How far correlations are shrunk towards none, and how many times as sure as one pixel a network is that sees its surroundings.
# Chosen on studies that are not used to judge.
_SHRINKAGE, _SURROUNDINGS = 0.02, 3.0
# Errors below count as this.
_LEAST = 1e-12


@dataclass(frozen=True)
class Moments:
    """Mean and covariance of F features in film and in particles, for B sets of images.

    Attributes:
        film: mean, shape [B, F].
        particle: mean, shape [B, F].
        film_covariance: shape [B, F, F].
        particle_covariance: shape [B, F, F].
        share: of pixels that are particle, shape [B].
    """

    film: Tensor
    particle: Tensor
    film_covariance: Tensor
    particle_covariance: Tensor
    share: Tensor

    @classmethod
    def joined(cls, parts: "Sequence[Moments]") -> "Moments":
        """Return the moments of several sets as one."""
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


def moments(images: Tensor, masks: Tensor, pixel_size_angstrom: float) -> Moments:
    """Return the moments of one set of images: of the log energies of rings, each standardised image by image.

    Args:
        images: zero mean and unit variance each, shape [N, n, n].
        masks: where particles are, bool, shape [N, n, n].
        pixel_size_angstrom: of the images [Å].

    Raises:
        ValueError: if there is no particle, or nothing else.
    """
    if not masks.any() or masks.all():
        raise ValueError("a reader needs pixels of particles and of film")
    energies = ring_energies(images, pixel_size_angstrom, _AVERAGED)
    features = torch.stack([standardised(values) for values in energies], -1).double()
    film, particle = features[~masks], features[masks]
    return Moments(
        film.mean(0)[None],
        particle.mean(0)[None],
        film.T.cov()[None],
        particle.T.cov()[None],
        masks.double().mean()[None],
    )


def log_errors(train: Moments, test: Moments) -> Tensor:
    """Return the logarithm of the share of wrong pixels, shape [B, B′], of readers of B sets on B′ others.

    The boundary is where both errors are as likely in training. A thousand sets on a thousand others take seconds.
    """
    false_positive, false_negative = error_rates(train, test)
    return (false_positive * (1 - test.share) + false_negative * test.share + _LEAST).log()


def error_rates(train: Moments, test: Moments) -> tuple[Tensor, Tensor]:
    """Return the shares of film called particle and of particle called film, shape [B, B′] each."""
    pooled = (train.film_covariance + train.particle_covariance) / 2
    deviation = pooled.diagonal(dim1=1, dim2=2).sqrt().clamp_min(1e-6)
    correlation = pooled / (deviation[:, :, None] * deviation[:, None])
    shrunk = (1 - _SHRINKAGE) * correlation + _SHRINKAGE * torch.eye(deviation.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(shrunk, (train.particle - train.film) / deviation) / deviation
    film_width = _width(weights, train.film_covariance).diagonal()
    particle_width = _width(weights, train.particle_covariance).diagonal()
    film, particle = (weights * train.film).sum(1), (weights * train.particle).sum(1)
    boundary = ((film * particle_width + particle * film_width) / (film_width + particle_width))[:, None]
    beyond = (weights @ test.film.T - boundary) / _width(weights, test.film_covariance)
    short = (boundary - weights @ test.particle.T) / _width(weights, test.particle_covariance)
    return torch.special.ndtr(_SURROUNDINGS * beyond), torch.special.ndtr(_SURROUNDINGS * short)


def _width(weights: Tensor, covariance: Tensor) -> Tensor:
    """Return the standard deviation along each of B weights under each of B′ covariances, shape [B, B′]."""
    return torch.stack([((weights @ c) * weights).sum(1) for c in covariance], 1).clamp_min(1e-12).sqrt()
