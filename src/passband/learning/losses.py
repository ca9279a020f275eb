"""The segmentation loss: cross-entropy + Dice."""

import torch
from torch import Tensor
from torch.nn import functional


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return cross-entropy + soft Dice loss of each image, shape [B].

    The Dice term is 1 − (2 Σ p y + 1) / (Σ p + Σ y + 1), of Milletari, Navab and Ahmadi, 3DV 2016, smoothed so that an
    empty mask predicted empty loses nothing.

    Args:
        logits: shape [B, 1, n, n].
        masks: 0 or 1, floating, the same shape.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2, 3))
    p = torch.sigmoid(logits)
    dice = (2 * (p * masks).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    return entropy + 1 - dice
