"""Distances between the distributions of features, or of spectra, of two sets of images; no label is used, not even at home."""

import torch
from torch import Tensor

from passband.metrics.image_spectra import maximum_mean_discrepancy
from passband.simulation.imaging import normalize, radial_power


def frechet_distance(home: Tensor, other: Tensor) -> Tensor:
    """Return the squared Fréchet distance between samples [M, D] and [N, D] as normal distributions, over the variance of the first.

    ‖μ − μ′‖² + tr(Σ + Σ′ − 2 (Σ Σ′)^½), divided by tr Σ, so that it does not depend on the features' scale: a number.

    Source: Heusel et al., NeurIPS 2017, 6626; of features and accuracy, Deng and Zheng, CVPR 2021, 15069.
    """
    (mean, covariance), (other_mean, other_covariance) = (_moments(samples.double()) for samples in (home, other))
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # Σ Σ′ has the eigenvalues of the symmetric Σ^½ Σ′ Σ^½.
    shared = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp_min(0).sqrt().sum()
    distance = (mean - other_mean).square().sum() + covariance.trace() + other_covariance.trace() - 2 * shared
    return distance.clamp_min(0) / covariance.trace().clamp_min(1e-30)


def feature_frechet_distance(home: Tensor, other: Tensor) -> Tensor:
    """Return the Fréchet distance between features [M, C, m, m] and [N, C, m, m]; a sample is a position of an image."""
    return frechet_distance(*(values.movedim(1, -1).flatten(0, -2) for values in (home, other)))


def feature_mmd(home: Tensor, other: Tensor) -> Tensor:
    """Return the squared maximum mean discrepancy between features [M, C, m, m] and [N, C, m, m]; a sample is the mean over an image.

    As many images of each as the smaller set has. Source: see `maximum_mean_discrepancy`.
    """
    count = min(len(home), len(other))
    return maximum_mean_discrepancy(torch.stack([v[:count].double().mean((2, 3)) for v in (home, other)]))[0, 1]


def log_spectra(images: Tensor) -> Tensor:
    """Return ln of the radial power spectrum of each of images [N, 1, n, n], normalised first, shape [N, 32]."""
    return radial_power(normalize(images[:, 0].double())).clamp_min(1e-12).log()


def spectral_frechet_distance(home: Tensor, other: Tensor) -> Tensor:
    """Return the Fréchet distance between the spectra of images [M, 1, n, n] and [N, 1, n, n]; a sample is an image, a network none."""
    return frechet_distance(log_spectra(home), log_spectra(other))


def _moments(samples: Tensor) -> tuple[Tensor, Tensor]:
    return samples.mean(0), torch.cov(samples.T, correction=0)
