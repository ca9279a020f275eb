"""Simulated images, and the loss of an ideal reader of them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from passband.api.conditions import as_any_condition, as_conditions
from passband.api.specimens import as_recipe
from passband.base.errors import BadInputError
from passband.conditions import AnyCondition, Condition

if TYPE_CHECKING:
    from passband.conditions.sets import ConditionSet
    from passband.report.simulated_folder import SimulatedFolder
    from passband.report.simulated_images import SimulatedImages
    from passband.simulation.reader_loss import LabelledImages, ReaderLoss
    from passband.specimens import Recipe


def simulate(
    recipe: Recipe | str | Path,
    condition: AnyCondition | str | Path,
    n: int = 16,
    *,
    seed: int | None = None,
    first: int = 0,
    noise_seed: int | None = None,
) -> SimulatedImages:
    """Return images of specimens of a recipe with their truth, in memory; about half a second each.

    Args:
        recipe: a recipe, its file, or the name of a bundled one.
        condition: a condition of HRTEM or STEM, its file, or a preset.
        n: number of specimens.
        seed: of specimens and noise, instead of the recipe's.
        first: number of the first specimen, from 0.
        noise_seed: of the noise alone; with it and `first`, a row of `simulate_folder`'s table is made again.

    Returns:
        An object with `images` (counts, float32 [n, h, h]), `masks` (bool), `condition`, `pixel_size_angstrom` and `show()`;
        `images[i]` is a micrograph.

    Raises:
        BadInputError: if the condition does not fit the recipe, or a specimen cannot be drawn.

    Example:
        >>> import passband as pb
        >>> images = pb.simulate("gold_on_carbon", "titan_corrected_300kv", n=1)
        >>> images.images.shape, images.masks.dtype
        ((1, 128, 128), dtype('bool'))
    """
    from passband.report import simulated_images

    if n < 1:
        raise BadInputError(f"{n} specimens cannot be simulated; give n of at least 1", value=n)
    if first < 0:
        raise BadInputError(f"first is {first}; specimens are numbered from 0", value=first)
    family = as_recipe(recipe)
    if seed is not None:
        family = family.model_copy(update={"seed": seed})
    return simulated_images.simulate(family, as_any_condition(condition), n, first, noise_seed)


def simulate_folder(
    recipe: Recipe | str | Path,
    conditions: Any,
    folder: str | Path,
    count: int,
    *,
    images_per_specimen: int = 4,
    split: Sequence[float] = (0.8, 0.1, 0.1),
    layout: Literal["plain", "nnunet", "coco"] = "plain",
    classes: bool = False,
    labels: bool = False,
    workers: int | None = None,
) -> SimulatedFolder:
    """Write images of a recipe to train any network with, each under a condition of its own; a stopped run continues when called again.

    An image's condition follows from the recipe's seed and the image's number: a larger `count` only adds images.

    Args:
        recipe: a recipe, its file, or the name of a bundled one.
        conditions: a condition, a set of them (`sweep`), a distribution, a file of any of these, a preset, or its residual aberrations
            (``NAME:residuals``); or several of these, which serve as many images each.
        folder: to write; exit waves lie beside it.
        count: number of images.
        images_per_specimen: an exit wave takes as long as some 20 images.
        split: shares of the specimens to train on, to validate with and to test on.
        layout: `plain` (images, masks and instances by part), `nnunet` (a raw data set of nnU-Net) or `coco` (8 bits, a COCO file a part).
        classes: whether labels tell crystals apart.
        labels: whether to write every label of each image (.npz), too.
        workers: processes; one for each core by default.

    Returns:
        An object with `folder`, `table` (a row an image: file, split, specimen, seed, particles, condition with lengths in Å, angles in rad)
        and `condition(i)`; a notebook shows the first images.

    Raises:
        BadInputError: before any work, if the conditions do not fit the recipe, or the folder holds something else or cannot be written.

    Example:
        >>> import passband as pb
        >>> pb.simulate_folder("gold_on_carbon", "titan_corrected_300kv:residuals", "gold", 500).table["C12"].max()  # doctest: +SKIP
    """
    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.report.simulated_folder import SimulatedFolder
    from passband.simulation.multislice.engine import MEMORY
    from passband.studies.image_conditions import given_conditions
    from passband.studies.image_export import ImageExport

    plan = ImageExport(
        as_recipe(recipe),
        given_conditions(conditions),
        count,
        Path(folder),
        images_per_specimen=images_per_specimen,
        split=tuple(split),
        layout=layout,
        classes=classes,
        labels=labels,
    )
    plan.check()
    for line in plan.warnings():
        warnings.warn(line, stacklevel=2)
    with (
        make_executor("processes", workers or len(os.sched_getaffinity(0))) as executor,
        TerminalProgress() as progress,
    ):
        plan.run(executor, progress, memory=MEMORY)
    return SimulatedFolder.open(plan.folder)


def reader_loss(
    train: Condition | ConditionSet | Iterable[Condition] | str | Path | LabelledImages | SimulatedImages,
    test: Condition | ConditionSet | Iterable[Condition] | str | Path | LabelledImages | SimulatedImages,
    recipe: Recipe | str | Path = "gold_on_carbon",
    *,
    test_recipe: Recipe | str | Path | None = None,
) -> ReaderLoss:
    """Return how badly a pixel classifier that is fitted to the training's images does on the test's; some seconds.

    It stands for a network. Specimens are simulated: 16 fit the classifier, 12 others test it. A condition without a dose has no shot
    noise.

    Args:
        train: a condition, its file or preset; several of them, which are pooled; or labelled images.
        test: the same.
        recipe: of the specimens, its file, or the name of a bundled one; labelled images need none.
        test_recipe: of the specimens of the test, if they are others.

    Returns:
        An object with `loss` (cross-entropy + 1 − Dice), `in_domain_loss`, `relative_loss`, `false_positive` and `false_negative`.

    Raises:
        BadInputError: if pixel sizes differ, a condition does not fit its recipe, or there is no film or no particle to tell apart.

    Example:
        >>> import passband as pb
        >>> train = pb.Condition.preset("titan_corrected_300kv")
        >>> pb.reader_loss(train, train.varied(dose=50)).relative_loss  # doctest: +SKIP
        1.6
    """
    from passband.simulation import reader_loss as simulation

    def side(given: Any) -> list[Condition] | LabelledImages:
        if isinstance(given, simulation.LabelledImages):
            return given
        if hasattr(given, "masks"):
            return simulation.LabelledImages(given.images, given.masks, given.pixel_size_angstrom)
        return as_conditions(given)

    other = None if test_recipe is None else as_recipe(test_recipe)
    return simulation.reader_loss(side(train), side(test), as_recipe(recipe), other)
