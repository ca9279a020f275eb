"""Imaging conditions: load, vary, compare, predict."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from passband.api.specimens import as_recipe
from passband.base.errors import BadInputError
from passband.conditions import AnyCondition, Condition, StemCondition
from passband.conditions.condition import METHODS, doubt_kinds, field_name

if TYPE_CHECKING:
    from passband.analysis.loss_prediction import LossPrediction
    from passband.conditions.sets import ConditionGrid, ConditionSet
    from passband.report.ctf_page import Comparison, Ctf, SetComparison
    from passband.specimens import Recipe


def list_presets() -> list[str]:
    """Return the names of the instruments' conditions, those of HRTEM first, then those of STEM.

    Example:
        >>> import passband as pb
        >>> "titan_corrected_300kv" in pb.list_presets()
        True
    """
    from passband.conditions.condition import PRESETS
    from passband.conditions.stem_condition import STEM_PRESETS

    return [*PRESETS, *STEM_PRESETS]


def load_condition(source: str | Path) -> AnyCondition:
    """Return a condition of HRTEM or STEM from a file (YAML, or STAR or CSV with one row), or a preset by name.

    Args:
        source: path or name.

    Raises:
        BadInputError: with file, line, value and remedy; also if the file holds several conditions.

    Example:
        >>> import passband as pb
        >>> pb.load_condition("feg_200kv").energy_ev
        200000.0
    """
    from passband.conditions.condition_files import load_any_condition

    condition = load_any_condition(source)
    _warn(source, [condition])
    return condition


def load_conditions(source: str | Path) -> list[AnyCondition]:
    """Return the conditions of HRTEM or STEM of a file (YAML distribution, STAR or CSV), or of a preset's residual aberrations.

    Args:
        source: path, preset, or PRESET:residuals.

    Raises:
        BadInputError: with file, line, value and remedy.

    Example:
        >>> import passband as pb
        >>> len(pb.load_conditions("feg_200kv:residuals"))
        64
    """
    from passband.conditions.condition_files import load_any_conditions

    conditions = [condition for _, condition in load_any_conditions(source)]
    _warn(source, conditions)
    return conditions


def sweep(base: AnyCondition | str | Path, **values: float | Iterable[float]) -> ConditionGrid:
    """Return all combinations of some values, on top of a base condition; a study trains and tests under each.

    Args:
        base: a condition of HRTEM or STEM, its file, or a preset.
        **values: values by name, as `Condition.varied` takes them, such as defocus=range(-200, 201, 50) [Å].

    Raises:
        BadInputError: if a name is unknown, a value invalid, or there are too many combinations.

    Example:
        >>> import passband as pb
        >>> grid = pb.sweep("titan_corrected_300kv", defocus=range(-100, 101, 50), dose=[200, 1000])
        >>> len(grid.conditions())
        10
    """
    from passband.conditions.sets import ConditionGrid

    vary: dict[str, list[float]] = {}
    for name, given in values.items():
        if _field(name) in vary:
            raise BadInputError(f"{name} is given twice, also without or with its unit; keep one of them", value=name)
        try:
            vary[_field(name)] = [float(value) for value in (given if isinstance(given, Iterable) else [given])]
        except (TypeError, ValueError):
            raise BadInputError(f"{name} is {given!r}, which is neither a number nor a list of them") from None
    return ConditionGrid(base=as_any_condition(base), vary=vary)


def compare(
    train: Condition | ConditionSet | Iterable[Condition] | str | Path,
    test: Condition | ConditionSet | Iterable[Condition] | str | Path,
    *,
    q_max_per_angstrom: float = 1.0,
) -> Comparison | SetComparison:
    """Compare a training with a test condition: ε, σ, every other shift metric, and where information is lost or reversed.

    Args:
        train: a condition, its file or preset; or several: a set, a list, a file of many.
        test: the same.
        q_max_per_angstrom: radius of the band that counts [1/Å].

    Returns:
        A `Comparison` of two single conditions, with `sigma`, `delta_epsilon`, `metrics`, `verdict` and `plot()`; a
        `SetComparison` if either is several.

    Raises:
        BadInputError: if a condition cannot be read, or the band is out of range.

    Example:
        >>> import passband as pb
        >>> train = pb.Condition.preset("titan_corrected_300kv")
        >>> result = pb.compare(train, train.varied(defocus=80))
        >>> 0 < result.sigma < 1
        True
    """
    from passband.report import ctf_page

    trains, tests = as_conditions(train), as_conditions(test)
    if len(trains) == len(tests) == 1:
        return ctf_page.compare(trains[0], tests[0], q_max_per_angstrom)
    return ctf_page.compare_sets(trains, tests, q_max_per_angstrom)


def predict_loss(
    train: Condition | ConditionSet | Iterable[Condition] | str | Path,
    test: Condition | ConditionSet | Iterable[Condition] | str | Path,
    recipe: Recipe | str | Path = "gold_on_carbon",
    *,
    test_recipe: Recipe | str | Path | None = None,
) -> LossPrediction:
    """Return the loss of a network trained under some conditions and tested under others, with an interval; no network is trained.

    It is predicted from the texture of film and particles, by laws fitted to passband's studies (docs/results/predictor.md).

    Args:
        train: a condition, its file or preset; or several of them, on which one network is trained.
        test: the same.
        recipe: of the specimens, its file, or the name of a bundled one.
        test_recipe: of the specimens of the test, if they are others.

    Returns:
        An object with `loss` (cross-entropy + 1 − Dice) and `relative_loss`, each with `predicted`, `low` and `high`, and `known`.

    Raises:
        BadInputError: if pixel sizes differ, a condition does not fit its recipe, or there is no film or no particle.

    Example:
        >>> import passband as pb
        >>> train = pb.Condition.preset("titan_corrected_300kv")
        >>> pb.predict_loss(train, train.varied(defocus=0)).relative_loss.predicted > 1
        True
    """
    from passband.analysis import loss_prediction

    other = None if test_recipe is None else as_recipe(test_recipe)
    return loss_prediction.predict_loss(as_conditions(train), as_conditions(test), as_recipe(recipe), other)


def optimize(
    condition: Condition | str | Path,
    *names: str,
    target: Condition | str | Path | None = None,
    q_max_per_angstrom: float = 1.0,
) -> Condition:
    """Return a condition with some values changed so that it transfers most, or most like a target.

    Args:
        condition: where to begin, and all that is not changed.
        *names: what may change: defocus, aberrations, angles; with a target focal_spread and convergence too.
        target: whose azimuthal mean of |T| to match; without it ε is maximised.
        q_max_per_angstrom: radius of the band that counts [1/Å].

    Raises:
        BadInputError: if a name cannot be optimised.

    Example:
        >>> import passband as pb
        >>> best = pb.optimize("feg_200kv", "defocus")
        >>> best.ctf().epsilon > pb.load_condition("feg_200kv").ctf().epsilon
        True
    """
    from passband.metrics.optimize import fit_condition

    wanted = None if target is None else as_condition(target)
    try:
        return fit_condition(as_condition(condition), [_field(n) for n in names], q_max_per_angstrom, target=wanted)
    except ValueError as fault:
        raise BadInputError(str(fault)) from None


def _field(name: str) -> str:
    return "defocus_angstrom" if name == "defocus" else field_name(name)


def _warn(source: str | Path, conditions: list[AnyCondition]) -> None:
    """Warn of what is doubtful about conditions from a file."""
    for kind in doubt_kinds(conditions):
        warnings.warn(f"{source}: {kind[0]}", stacklevel=3)


def as_condition(condition: Any) -> Condition:
    """Return a condition that is given as such, as a file or as a preset."""
    found = load_condition(condition) if isinstance(condition, str | Path) else condition
    if isinstance(found, Condition):
        return found
    place = condition if isinstance(condition, str | Path) else None
    if isinstance(found, StemCondition):
        what = "is a STEM condition" if place else "a STEM condition is given"
        raise BadInputError(what, value=condition, remedy="give one of HRTEM", place=place)
    raise BadInputError(
        f"a {type(condition).__name__} is no condition; give a Condition, its file or a preset", value=condition
    )


def as_any_condition(condition: Any) -> AnyCondition:
    """Return a condition of HRTEM or STEM that is given as such, as a file or as a preset."""
    found = load_condition(condition) if isinstance(condition, str | Path) else condition
    return found if isinstance(found, StemCondition) else as_condition(found)


def as_conditions(conditions: Any) -> list[Condition]:
    """Return the conditions of a file, a set, or a sequence of conditions, files and presets."""
    if isinstance(conditions, str | Path):
        loaded = load_conditions(conditions)
        if any(isinstance(condition, StemCondition) for condition in loaded):
            raise BadInputError("is of STEM", remedy="give conditions of HRTEM", place=conditions)
        return [as_condition(condition) for condition in loaded]
    if hasattr(conditions, "conditions"):
        return [as_condition(condition) for condition in conditions.conditions()]
    if isinstance(conditions, Condition | StemCondition):
        return [as_condition(conditions)]
    return [as_condition(condition) for condition in conditions]


def _ctf(condition: Condition, q_max_per_angstrom: float = 1.0) -> Ctf:
    from passband.report import ctf_page

    return ctf_page.ctf(condition, q_max_per_angstrom)


# Conditions lie below the optics, so the method comes from here.
METHODS["ctf"] = _ctf
