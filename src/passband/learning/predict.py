"""Predictions of a trained network."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int = 16) -> Tensor:
    """Return logits [B, 1, n, n] of normalised images [B, 1, n, n].

    Args:
        model: network in evaluation mode.
        images: zero mean and unit variance each.
        batch_size: images at a time.
    """
    return torch.cat([model(chunk) for chunk in images.split(batch_size)])
