"""The task of telling particles from their support: its losses, and what is counted on each image."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from passband.learning.particle_scores import COUNTS, SUMS, Regions, compare, particle_scores, regions_of
from passband.learning.task import Headline

if TYPE_CHECKING:
    from passband.simulation.multislice import ExitWaveConfig
    from passband.specimens import Recipe, Specimen


#: Pixels of an image that are called particle and are, that are called so and are not, that are missed, and the others.
PIXELS = ("tp", "fp", "fn", "tn")
#: Losses by name: with the Dice term, without, and of outputs that a softmax has squeezed into [0, 1].
LossName = Literal["cross_entropy_dice", "cross_entropy", "softmax_cross_entropy"]


def cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the mean cross-entropy of each image's pixels, shape [B]; logits and masks as for `segmentation_loss`."""
    return functional.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2, 3))


def softmax_cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the cross-entropy of probabilities taken for logits, less its least value, shape [B].

    ln(1 + exp(1 − 2 p)) − ln(1 + 1/e) for the probability p of each pixel's class, averaged: what PyTorch's CrossEntropyLoss makes of
    two channels that have been through a softmax. No pixel counts more than 1. Logits and masks as for `segmentation_loss`.
    """
    wrong = torch.sigmoid(torch.where(masks > 0.5, -logits, logits))
    return functional.softplus(2 * wrong - 1).mean((1, 2, 3)) - math.log1p(math.exp(-1))


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return cross-entropy + soft Dice loss of each image, shape [B].

    The Dice term is 1 − (2 Σ p y + 1) / (Σ p + Σ y + 1), of Milletari, Navab and Ahmadi, 3DV 2016, smoothed so that an
    empty mask predicted empty has no loss.

    Logits and masks (0 or 1, floating) have the shape [B, 1, n, n].
    """
    entropy = cross_entropy(logits, masks)
    p = torch.sigmoid(logits)
    dice = (2 * (p * masks).sum((1, 2, 3)) + 1) / (p.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
    return entropy + 1 - dice


_LOSSES: dict[LossName, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy_dice": segmentation_loss,
    "cross_entropy": cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
}


def count_pixels(
    logits: Tensor, masks: Tensor, threshold: float = 0.5, loss: LossName = "cross_entropy_dice"
) -> dict[str, list[float]]:
    """Return loss, tp, fp, fn and tn of each image, a list of length B each; logits and masks as for `segmentation_loss`.

    A pixel is called particle above the threshold, a probability.
    """
    # Floating-point sums, exact up to 2²⁴ pixels, are five times as fast as those of bool.
    called, true = (logits > math.log(threshold / (1 - threshold))).float(), (masks > 0.5).float()
    tp, positive, particle = (values.sum((1, 2, 3)) for values in (called * true, called, true))
    counts = {"tp": tp, "fp": positive - tp, "fn": particle - tp, "tn": called[0].numel() - positive - particle + tp}
    columns: dict[str, list[float]] = {"loss": _LOSSES[loss](logits, masks).to(torch.float64).tolist()}
    return columns | {name: pixels.int().tolist() for name, pixels in counts.items()}


class Segmentation:
    """Tell particles from their support; outputs are logits, and a pixel is called particle above 0."""

    name = "segmentation"
    quantity = "particles"
    value = ""
    outputs = 1
    classes: tuple[str, ...] = ()
    headline = Headline("dice", "Dice", "", True, "is from pixel counts summed over the test images", ("dice", 0.5))
    counts: Mapping[str, type] = dict.fromkeys((*PIXELS, *COUNTS), int) | dict.fromkeys(SUMS, float)

    def __init__(self, loss: LossName = "cross_entropy_dice"):
        """Choose the loss that networks are trained with and scored by."""
        self._loss = loss

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, shape [B]."""
        return _LOSSES[self._loss](outputs, targets)

    def truth(self, targets: np.ndarray, pixel_size_angstrom: float) -> Regions:
        """Return the particles of masks [B, n, n] and their outlines; connected pixels are one particle."""
        return regions_of(targets > 0, pixel_size_angstrom)

    def score(self, outputs: Tensor, targets: Tensor, truth: Regions) -> dict[str, Sequence[float] | np.ndarray]:
        """Return what `count_pixels` and `particle_scores.compare` do."""
        called = regions_of((outputs[:, 0] > 0).cpu().numpy(), truth.pixel_size_angstrom)
        particles = {
            name: values.astype(np.float32 if name in SUMS else np.int32)
            for name, values in compare(called, truth).items()
        }
        return {**count_pixels(outputs, targets, loss=self._loss), **particles}

    def scores(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Return Dice and the scores of `particle_scores`."""
        return {"dice": 2 * sums["tp"] / (2 * sums["tp"] + sums["fp"] + sums["fn"])} | particle_scores(sums)

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the mask of all particles, bool, shape [n, n]."""
        # Crystals and shapes take a third of a second, which a network that only predicts can spare.
        from passband.simulation.particle_truth import particle_truth

        return particle_truth(recipe, specimen, config)

    def shown(self, outputs: Tensor) -> np.ndarray:
        """Return where particles are called, bool [B, n, n]."""
        return (outputs[:, 0] > 0).cpu().numpy()


#: The task with the usual loss.
SEGMENTATION = Segmentation()
