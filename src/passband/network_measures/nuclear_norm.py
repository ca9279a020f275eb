"""The nuclear norm of the matrix of predictions: confidence and dispersity in one number."""

import torch
from torch import Tensor


def nuclear_norm(logits: Tensor) -> Tensor:
    """Return the nuclear norm of each image's matrix of probabilities, pixels × two classes, over its largest value, shape [N].

    It is 1 if all pixels are certain and half of them particle, and smaller with less certain pixels and less even classes. Logits have
    the shape [N, 1, n, n].

    Source: Deng et al., ICML 2023, eq. 4.
    """
    p = torch.stack([logits, -logits]).double().sigmoid().flatten(2)
    pixels = p.shape[2]
    squares, product = p.square().sum(2), (p[0] * p[1]).sum(1)
    # Singular values s, t of two columns: s² + t² is the trace of their Gram matrix, (s t)² its determinant.
    determinant = (squares[0] * squares[1] - product.square()).clamp_min(0)
    return (squares.sum(0) + 2 * determinant.sqrt()).sqrt() / (2 * pixels) ** 0.5
