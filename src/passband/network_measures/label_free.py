"""Estimates of a network's performance without labels, as measures: of its images, or of these and labelled ones at home; means over images."""

from collections.abc import Callable

from torch import Tensor

from passband.network_measures import feature_distance
from passband.network_measures.network_on_images import NetworkOnImages


def of_logits(estimate: Callable[[Tensor], Tensor]) -> Callable[[NetworkOnImages], float]:
    """Return the measure of an estimate from logits."""
    return lambda network: float(estimate(network.logits).mean())


def of_labelled_home(estimate: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[..., float]:
    """Return the measure of an estimate from logits away, logits at home and masks there."""
    return lambda home, away: float(estimate(away.logits, home.logits, home.masks > 0.5).mean())


def calibrated(estimate: Callable[[Tensor], Tensor]) -> Callable[..., float]:
    """Return the measure of an estimate from logits away over the temperature at home."""
    return lambda home, away: float(estimate(away.logits / home.temperature).mean())


def of_orientations(estimate: Callable[[Tensor], Tensor]) -> Callable[[NetworkOnImages], float]:
    """Return the measure of an estimate from the logits of eight orientations."""
    return lambda network: float(estimate(network.oriented_logits).mean())


def of_features(distance: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., float]:
    """Return the measure of a distance between deepest features at home and away."""
    return lambda home, away: float(distance(home.deepest_features, away.deepest_features))


def spectral_distance(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Fréchet distance between spectra of the images; the network has no part in it."""
    return float(feature_distance.spectral_frechet_distance(home.images, away.images))
