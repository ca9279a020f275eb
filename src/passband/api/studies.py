"""Studies: load, open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from passband.report.study_run import Study, StudyRun


def list_studies() -> list[str]:
    """Return the names of the bundled studies.

    Example:
        >>> import passband as pb
        >>> pb.list_studies()
        ['defocus', 'quick']
    """
    from passband.files import bundled

    return list(bundled.studies())


def load_study(source: str | Path, *, budget: str | None = None, variant: str | None = None) -> Study:
    """Return a study, ready to run.

    Args:
        source: its YAML file, or the name of a bundled study.
        budget: which of the file's `budgets` to apply.
        variant: which of its `variants` to apply.

    Raises:
        BadInputError: with file, line, value and remedy.

    Example:
        >>> import passband as pb
        >>> len(pb.load_study("defocus").test_conditions)
        11
    """
    from passband.report.study_run import Study
    from passband.studies.study import load_study

    return Study(**load_study(source, budget=budget, variant=variant).model_dump(mode="json"))


def open_study(folder: str | Path) -> StudyRun:
    """Return the results of a study that has been run: scores, shift metrics, matrix, fits, report.

    Args:
        folder: of the study.

    Raises:
        BadInputError: if the folder holds no study.

    Example:
        >>> import passband as pb
        >>> pb.open_study("runs/mine").matrix().plot()  # doctest: +SKIP
    """
    from passband.report.study_run import open_study

    return open_study(folder)
