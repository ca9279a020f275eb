"""Measures of the gradient of the loss by the weights of a network."""

import torch
from torch.nn import functional

from passband.learning import predict
from passband.network_measures.network_on_images import NetworkOnImages

#: Radius of the ball of `sharpness`, the length of the step [norm of the weights' change], as its source has it.
SHARPNESS_RADIUS = 0.05


def gradient_norm(network: NetworkOnImages) -> float:
    """Return the Euclidean norm of the gradient of the mean loss."""
    return float(network.gradient.norm())


def gradient_alignment(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the cosine between the gradients of the mean loss under two conditions, at the same weights."""
    return float(functional.cosine_similarity(home.gradient, away.gradient, dim=0))


def sharpness(network: NetworkOnImages) -> float:
    """Return how much the mean loss rises by a step of length `SHARPNESS_RADIUS` along its gradient."""
    gradient = network.gradient
    length = gradient.norm()
    if length == 0:
        return 0.0
    moved = network.moved(SHARPNESS_RADIUS * gradient / length)
    with torch.no_grad():
        logits = predict(moved, network.images)
    return float(network.loss(logits, network.masks).mean()) - network.mean_loss
