"""Trained networks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from passband.api.conditions import as_condition

if TYPE_CHECKING:
    from passband.conditions import Condition
    from passband.models.store import Model
    from passband.report.study_run import StudyRun
    from passband.verdicts.session_plan import SessionPlan


def list_models() -> list[str]:
    """Return the names of the models: those that come with passband and your own.

    Example:
        >>> import passband as pb
        >>> "au-300kv" in pb.list_models()
        True
    """
    from passband.models.store import installed

    return sorted(installed())


def load_model(source: str | Path) -> Model:
    """Return a trained network with its card and scores.

    Args:
        source: name, or folder.

    Raises:
        BadInputError: if there is none, or it is damaged.

    Example:
        >>> import passband as pb
        >>> pb.load_model("au-300kv").card.pixel_size_angstrom
        0.8
    """
    from passband.models.store import load_model

    return load_model(source)


def pack_model(
    study: str | Path | StudyRun,
    name: str,
    *,
    conditions: str | Path | None = None,
    training: str | None = None,
    seed: int | None = None,
    folder: str | Path | None = None,
    workers: int | None = None,
) -> Model:
    """Return a model made of a network of a finished study, with its scores; a stopped call continues when it is called again.

    Args:
        study: its folder, or what `Study.run` returns.
        name: of the model.
        conditions: to score it under, as `load_conditions` takes them, so that it gives verdicts; of a study of segmentation, and
            needed there in HRTEM. Other models are scored under their training condition.
        training: training set, the start of its name, or id of a condition; that of the network with the lowest mean loss by default.
        seed: number of the network.
        folder: of the model; in your folder of models by default.
        workers: processes; one for each core by default.

    Raises:
        BadInputError: if the study is not finished or has no such network, the folder exists, or conditions are missing or not wanted.

    Example:
        >>> import passband as pb
        >>> model = pb.pack_model("runs/my_diameters", "my-diameter")  # doctest: +SKIP
        >>> print(pb.predict(model, "image.dm4"))  # doctest: +SKIP
    """
    import os

    from passband.base.progress import TerminalProgress
    from passband.conditions.condition_files import load_any_conditions
    from passband.execution.choose import make_executor
    from passband.models.store import user_folder
    from passband.simulation.multislice.engine import MEMORY
    from passband.studies.folder import StudyFolder
    from passband.verdicts import from_study

    held = StudyFolder.open(Path(study)) if isinstance(study, str | Path) else study.held
    from_study.check_conditions(held, given=conditions is not None)
    session = [] if conditions is None else [c for _, c in load_any_conditions(conditions)]
    chosen, target = from_study.choose(held, training, seed), Path(folder or user_folder() / name)
    count = workers or len(os.sched_getaffinity(0))
    with make_executor("processes", count) as executor, TerminalProgress() as progress:
        return from_study.pack(held, chosen, target, session, 0.25, executor, progress, name=name, memory=MEMORY)


def plan_session(
    models: str | Path | Model | Iterable[str | Path | Model],
    condition: Condition | str | Path | None = None,
    *,
    defocus: Iterable[float] | None = None,
    dose: Iterable[float] | None = None,
) -> SessionPlan:
    """Return where models work over defocus and dose: the verdicts of `check` over the plane, and the recommended defoci of each dose.

    Args:
        models: one or several, each by name, folder, or loaded; at each point the better one counts.
        condition: the microscope, a condition, its file, or a preset, whose defocus and dose do not count; the first model's
            reference condition if left out.
        defocus: two ends, such as (-300, 300), or more values [Å]; 300 Å on either side of the condition's if left out.
        dose: two ends, such as (50, 2000), or more values [e/Å²]; (50, 2000) if left out.

    Returns:
        An object with `table`, `plane`, `ranges`, `works`, `plot()` and `save(folder)`.

    Raises:
        BadInputError: if a model has not been scored or was calibrated at another energy, or a range is empty.

    Example:
        >>> import passband as pb
        >>> pb.plan_session("au-300kv", defocus=(-300, 300), dose=[200, 400]).works
        True
    """
    from passband.models.store import Model
    from passband.verdicts import session_plan
    from passband.verdicts.verdict_model import VerdictModel

    given = [models] if isinstance(models, str | Path | Model) else list(models)
    return session_plan.plan_session(
        [VerdictModel(as_model(model)) for model in given],
        None if condition is None else as_condition(condition),
        None if defocus is None else list(defocus),
        None if dose is None else list(dose),
    )


def as_model(model: str | Path | Model) -> Model:
    """Return a model that is given as such, by name or as a folder."""
    return load_model(model) if isinstance(model, str | Path) else model
