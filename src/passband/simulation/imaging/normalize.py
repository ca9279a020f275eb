"""From counts to what a network sees."""

import math

from torch import Tensor


def normalize(images: Tensor) -> Tensor:
    """Return images with zero mean and unit variance each; a constant image becomes zero.

    Args:
        images: shape [..., n, n].
    """
    centred = images - images.mean((-2, -1), keepdim=True)
    return centred / centred.square().mean((-2, -1), keepdim=True).sqrt().clamp_min(math.sqrt(1e-12))
