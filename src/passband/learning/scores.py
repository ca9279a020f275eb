"""What is counted on each image; scores are derived from the counts."""

import torch
from torch import Tensor

from passband.learning.losses import segmentation_loss


def count_pixels(logits: Tensor, masks: Tensor) -> dict[str, list[float]]:
    """Return loss, tp, fp, fn and tn of each image, a list of length B each.

    Args:
        logits: shape [B, 1, n, n]; a pixel is called particle above 0.
        masks: 0 or 1, floating, the same shape.
    """
    called, true = logits > 0, masks > 0.5
    counts = {"tp": called & true, "fp": called & ~true, "fn": ~called & true, "tn": ~called & ~true}
    columns: dict[str, list[float]] = {"loss": segmentation_loss(logits, masks).to(torch.float64).tolist()}
    return columns | {name: pixels.sum((1, 2, 3)).tolist() for name, pixels in counts.items()}
