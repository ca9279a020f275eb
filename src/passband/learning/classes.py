"""The task of telling crystals apart: which of a recipe's crystals covers each pixel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from passband.base.errors import BadInputError
from passband.learning.task import Headline

if TYPE_CHECKING:
    from passband.simulation.multislice import ExitWaveConfig
    from passband.specimens import Recipe, Specimen

#: Class 0, of pixels that no particle covers.
BACKGROUND = "background"
# More do not fit the numbers of a target.
_MOST = 255


def classes_of(recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """Return the classes of recipes: the background, then their crystals by name in the order of the alphabet.

    Raises:
        BadInputError: if a recipe has fewer than two crystals, or not those of the first.
    """
    every = [sorted(recipe.crystals()) for recipe in recipes]
    for crystals in every:
        if not 2 <= len(crystals) <= _MOST:
            what = f"task {Classes.name} tells 2 to {_MOST} crystals apart, and the specimens have {len(crystals)} ({', '.join(crystals[:5])})"
            remedy = "give specimens of several crystals, or use task segmentation"
            raise BadInputError(what, value=len(crystals), limit=2, remedy=remedy)
        if crystals != every[0]:
            what = f"task {Classes.name}: one family has the crystals {', '.join(every[0])} and another {', '.join(crystals)}"
            raise BadInputError(what, value=crystals, limit=every[0], remedy="give families of the same crystals")
    return BACKGROUND, *every[0]


class Classes:
    """The crystal of the particle at each pixel, of the upper one where two overlap; outputs are logits of exclusive classes.

    The class with the highest output is called. The loss is cross-entropy + the mean over crystals of the soft Dice loss of
    `segmentation_loss`.
    """

    name = "classes"
    quantity = "crystal at each pixel"
    value = ""
    headline = Headline(
        "mean_dice",
        "Mean Dice",
        "",
        True,
        "is the mean over crystals of Dice from pixel counts summed over the test images",
        ("mean_dice", 0.5),
    )

    def __init__(self, classes: tuple[str, ...] = ()):
        """Take the names of the classes, of `classes_of`; the loss needs none."""
        self.classes = classes
        names = [f"{what}_{name}" for name in classes[1:] for what in ("true", "called", "right")]
        self.counts: Mapping[str, type] = dict.fromkeys(("pixels", "right", "found", *names), int)

    @property
    def outputs(self) -> int:
        """Outputs of a network for each pixel: one a class."""
        return len(self.classes)

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the number of the class on the multislice grid, uint8 [n, n], in the order of `classes_of` the recipe."""
        from passband.specimens.labels import particle_instances

        names = classes_of([recipe])
        class_of = np.array([0, *(names.index(p.crystal) for p in specimen.particles)], np.uint8)
        return class_of[particle_instances(specimen, config.grid_points(recipe.field_angstrom))]

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, shape [B]."""
        true = targets[:, 0].long()
        entropy = functional.cross_entropy(outputs, true, reduction="none").mean((1, 2))
        p = outputs.softmax(1)[:, 1:]
        y = (targets == torch.arange(1, outputs.shape[1], device=targets.device)[:, None, None]).to(p.dtype)
        dice = (2 * (p * y).sum((2, 3)) + 1) / (p.sum((2, 3)) + y.sum((2, 3)) + 1)
        return entropy + 1 - dice.mean(1)

    def truth(self, targets: np.ndarray, pixel_size_angstrom: float) -> None:
        """Return nothing: scores follow from the targets alone."""

    def score(self, outputs: Tensor, targets: Tensor, truth: None) -> dict[str, Sequence[float] | np.ndarray]:
        """Return the loss and pixel counts of each image.

        `right`: of the right class; `found`: of a particle, called some crystal; of each crystal `true_`, `called_` and `right_`.
        """
        called, true = outputs.argmax(1), targets[:, 0].long()
        right = called == true
        masks = {"right": right, "found": (called > 0) & (true > 0)}
        for i, name in enumerate(self.classes[1:], start=1):
            masks |= {f"true_{name}": true == i, f"called_{name}": called == i, f"right_{name}": right & (true == i)}
        counted = torch.stack([mask.sum((1, 2)) for mask in masks.values()]).cpu().numpy()
        columns: dict[str, Sequence[float] | np.ndarray] = {
            "loss": self.loss(outputs, targets).double().cpu().numpy(),
            "pixels": np.full(len(true), true[0].numel(), np.int64),
        }
        return columns | dict(zip(masks, counted, strict=True))

    def scores(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Return Dice of each crystal, of all particles and of the background, shares of pixels, and the trivial share of wrong crystals.

        `mean_dice` is over the crystals that are there or called. `wrong_crystal` is the share of another crystal among the particles' pixels that are
        called some crystal; `wrong_crystal_trivial` what calling them all the commonest crystal would make it.
        """
        parts = {name: [sums[f"{what}_{name}"] for what in ("true", "called", "right")] for name in self.classes[1:]}
        true, called, right = (sum(counts[1:], counts[0]) for counts in zip(*parts.values(), strict=True))
        there = [(t + c) > 0 for t, c, _ in parts.values()]
        # Nothing divided by one where a crystal is neither there nor called.
        each = [2 * r / (t + c + ((t + c) == 0)) for t, c, r in parts.values()]
        most = 0 * true
        for t, *_ in parts.values():
            most = most + (t - most) * (t > most)
        background = 2 * sums["pixels"] - true - called
        return {
            "mean_dice": _share(sum(each[1:], each[0]), sum(there[1:], 0 * true + there[0])),
            **{f"dice_{name}": _share(2 * r, t + c) for name, (t, c, r) in parts.items()},
            "dice_particles": _share(2 * sums["found"], true + called),
            "dice_background": _share(2 * (sums["right"] - right), background),
            "pixel_accuracy": _share(sums["right"], sums["pixels"]),
            "wrong_crystal": _share(sums["found"] - right, sums["found"]),
            "wrong_crystal_trivial": _share(true - most, true),
        }

    def shown(self, outputs: Tensor) -> np.ndarray:
        """Return the number of the class called, uint8 [B, n, n]."""
        return outputs.argmax(1).to(torch.uint8).cpu().numpy()


def _share(part: Any, whole: Any) -> Any:
    """Return a quotient; NaN of numbers if the whole is nothing, as polars has it."""
    if isinstance(whole, int | float | np.number):
        return part / whole if whole else math.nan
    return part / whole
