"""Simulated images, and the loss of an ideal reader of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passband.api.conditions import as_condition, as_conditions
from passband.api.specimens import as_recipe
from passband.base.errors import BadInputError
from passband.conditions import Condition

if TYPE_CHECKING:
    from passband.conditions.sets import ConditionSet
    from passband.report.simulated_images import SimulatedImages
    from passband.simulation.reader_loss import LabelledImages, ReaderLoss
    from passband.specimens import Recipe


def simulate(
    recipe: Recipe | str | Path, condition: Condition | str | Path, n: int = 16, *, seed: int | None = None
) -> SimulatedImages:
    """Return images of the first specimens of a recipe with their truth, in memory; about half a second each.

    Args:
        recipe: a recipe, its file, or the name of a bundled one.
        condition: a condition, its file, or a preset.
        n: number of specimens.
        seed: of specimens and noise, instead of the recipe's.

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
    family = as_recipe(recipe)
    if seed is not None:
        family = family.model_copy(update={"seed": seed})
    return simulated_images.simulate(family, as_condition(condition), n)


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
