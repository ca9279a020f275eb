"""A condition of its own for every image of an export: drawn by recipe and index, so that more images only add."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.conditions import AnyCondition, Condition, StemCondition
from passband.conditions.condition_files import load_any_conditions, load_any_distribution
from passband.conditions.sets import ConditionDraw, ConditionMixture

#: Conditions of which each image gets one, or a distribution that each image's is drawn from.
Conditions = tuple[AnyCondition, ...] | ConditionDraw | ConditionMixture


def read_conditions(source: str | Path) -> Conditions:
    """Return what a condition file, a distribution, a preset or its residual aberrations (NAME:residuals) has for images.

    Raises:
        BadInputError: with file, line, value and remedy.
    """
    listed = load_any_conditions(source)
    try:
        several = load_any_distribution(source)
    except BadInputError:
        return tuple(condition for _, condition in listed)
    return of_set(several)


def of_set(several: Any) -> Conditions:
    """Return a set of conditions as one for images: a distribution stays one, a grid is its conditions."""
    return several if isinstance(several, ConditionDraw | ConditionMixture) else tuple(several.conditions())


def given_conditions(given: Any) -> list[Conditions]:
    """Return conditions for images given in Python: conditions, sets, distributions, their files and names, or several of them."""
    if isinstance(given, str | Path):
        return [read_conditions(given)]
    if isinstance(given, Condition | StemCondition):
        return [(given,)]
    if isinstance(given, BaseModel) and hasattr(given, "conditions"):
        return [of_set(given)]
    if isinstance(given, Sequence):
        return [source for one in given for source in given_conditions(one)]
    what = f"a {type(given).__name__} is no condition; give conditions, sets of them, their files or presets"
    raise BadInputError(what, value=given)


def conditions_of_images(sources: Sequence[Conditions], count: int, seed: int) -> list[AnyCondition]:
    """Return the conditions of the first `count` images; each source, and each condition of a listing, serves as many to one.

    A distribution is drawn from as often as is needed, whatever its own `count`.
    """
    return _next_of_each(sources, _in_turn(len(sources), count, seed), seed)


def _next_of_each(sources: Sequence[Conditions], which: np.ndarray, seed: int) -> list[AnyCondition]:
    """Return the conditions of images, each the next of its source, given the number of each image's source [N]."""
    counts = np.bincount(which, minlength=len(sources)).tolist()
    drawn = [
        iter(_drawn(s, n, seed_from("source", seed, i))) for i, (s, n) in enumerate(zip(sources, counts, strict=True))
    ]
    return [next(drawn[i]) for i in which.tolist()]


def _drawn(source: Conditions, count: int, seed: int) -> list[AnyCondition]:
    """Return the first conditions of a source."""
    if count == 0:
        return []
    if isinstance(source, tuple):
        return [source[i] for i in _in_turn(len(source), count, seed).tolist()]
    seed = seed_from("distribution", seed, source.seed)
    if isinstance(source, ConditionDraw):
        # A copy is not checked for conditions that are the same twice: images may share theirs.
        return source.model_copy(update={"count": count, "seed": seed}).conditions()
    parts = [
        ConditionDraw.model_construct(base=p.base, draw=p.draw, method=source.method, seed=0) for p in source.mixture
    ]
    limits = np.cumsum([part.weight for part in source.mixture])
    lots = np.random.default_rng(seed).uniform(size=count) * limits[-1]
    return _next_of_each(parts, np.searchsorted(limits[:-1], lots, side="right"), seed)


def _in_turn(kinds: int, count: int, seed: int) -> np.ndarray:
    """Return `count` numbers of kinds: all of them in random order, again and again."""
    rng = np.random.default_rng(seed_from("turns", seed))
    return np.concatenate([rng.permutation(kinds) for _ in range(-(-count // kinds))])[:count]
