"""What networks learn to predict: the target of a specimen, the loss, and what is counted on each image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from passband.simulation.multislice import ExitWaveConfig
    from passband.specimens import Recipe, Specimen


class Task(Protocol):
    """A kind of prediction, pixel by pixel; `Segmentation` is the first."""

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the truth of a specimen of a recipe on the multislice grid, shape [n, n]."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, shape [B], given outputs and floating targets, shape [B, 1, n, n] each."""

    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, list[float]]:
        """Return `loss` and the task's counts of each image, a list of length B each: columns of the table of counts."""


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return cross-entropy + soft Dice loss of each image, shape [B].

    The Dice term is 1 − (2 Σ p y + 1) / (Σ p + Σ y + 1), of Milletari, Navab and Ahmadi, 3DV 2016, smoothed so that an
    empty mask predicted empty has no loss.

    Logits and masks (0 or 1, floating) have the shape [B, 1, n, n].
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2, 3))
    p = torch.sigmoid(logits)
    dice = (2 * (p * masks).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    return entropy + 1 - dice


def count_pixels(logits: Tensor, masks: Tensor, threshold: float = 0.5) -> dict[str, list[float]]:
    """Return loss, tp, fp, fn and tn of each image, a list of length B each; logits and masks as for `segmentation_loss`.

    A pixel is called particle above the threshold, a probability.
    """
    called, true = logits > math.log(threshold / (1 - threshold)), masks > 0.5
    counts = {"tp": called & true, "fp": called & ~true, "fn": ~called & true, "tn": ~called & ~true}
    columns: dict[str, list[float]] = {"loss": segmentation_loss(logits, masks).to(torch.float64).tolist()}
    return columns | {name: pixels.sum((1, 2, 3)).tolist() for name, pixels in counts.items()}


class Segmentation:
    """Tell particles from their support; outputs are logits, and a pixel is called particle above 0."""

    loss = staticmethod(segmentation_loss)
    score = staticmethod(count_pixels)

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the mask of all particles, bool, shape [n, n]."""
        # Crystals and shapes take a third of a second, which a network that only predicts can spare.
        from passband.simulation.particle_truth import particle_truth

        return particle_truth(recipe, specimen, config)


#: The task of every study.
SEGMENTATION: Task = Segmentation()
