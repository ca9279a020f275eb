"""Studies: load, open, measure their networks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

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


def measure_networks(
    folder: str | Path,
    *,
    top: int = 5,
    spectrum_images: int = 4,
    images: int | None = None,
    spectra: bool = True,
    workers: int | None = None,
) -> pl.DataFrame:
    """Measure curvature, gradients and predictions of each network of a finished study under each condition; needs the extra curvature.

    A stopped call continues when it is made again. curvature.parquet and curvature_layers.parquet in the folder have the tables; of N images
    their names end in _N_images.

    Args:
        folder: of the study, with its networks.
        top: eigenpairs of a dominant subspace, at most 20.
        spectrum_images: test images that eigenpairs are computed from, at most so many.
        images: the first so many test images alone; all by default.
        spectra: whether to compute eigenpairs and traces of all weights, two thirds of the time.
        workers: processes; one for each core by default.

    Returns:
        A row for each train_condition, test_condition and seed. A measure of a network has the columns NAME_train (at home) and NAME_test,
        one of two conditions has NAME; `passband.network_measures.registry.MEASURES` has titles and sources.

    Raises:
        BadInputError: if the folder holds no study of segmentation, or networks or exit waves are missing.

    Example:
        >>> import passband as pb
        >>> pb.measure_networks("runs/mine")["hessian_grassmann"].max()  # doctest: +SKIP
    """
    import os

    from passband.base.progress import TerminalProgress
    from passband.execution.choose import make_executor
    from passband.studies.curvature_jobs import measure_study
    from passband.studies.folder import StudyFolder

    held = StudyFolder.open(Path(folder))
    count = workers or len(os.sched_getaffinity(0))
    with make_executor("processes", count) as executor, TerminalProgress() as progress:
        return measure_study(
            held, executor, progress, top=top, spectrum_images=spectrum_images, images=images, spectra=spectra
        )
