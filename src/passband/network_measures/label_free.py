"""Estimates of a network's performance without labels, as measures: of its images, or of these and labelled ones at home; means over images."""

import math
from collections.abc import Callable

from torch import Tensor

from passband.network_measures import feature_distance, gradient_norm, reverse_accuracy
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


def of_siblings(estimate: Callable[[Tensor, Tensor], Tensor]) -> Callable[[NetworkOnImages], float]:
    """Return the measure of an estimate from logits of networks that differ in their seed; NaN of one alone."""
    return lambda network: (
        float(estimate(network.logits, network.sibling_logits).mean()) if network.siblings else math.nan
    )


def of_features(distance: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., float]:
    """Return the measure of a distance between deepest features at home and away."""
    return lambda home, away: float(distance(home.deepest_features, away.deepest_features))


def spectral_distance(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Fréchet distance between spectra of the images; the network has no part in it."""
    return float(feature_distance.spectral_frechet_distance(home.images, away.images))


def reverse_dice(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Dice at home of the head refitted to the predictions away."""
    return float(reverse_accuracy.reverse_dice(away.head_inputs, away.logits, home.head_inputs, home.masks > 0.5))


def own_gradient_norm(network: NetworkOnImages) -> float:
    """Return the norm of the gradient by the head's weights with the network's predictions as labels."""
    return float(gradient_norm.own_gradient_norm(network.head_inputs, network.logits).mean())
