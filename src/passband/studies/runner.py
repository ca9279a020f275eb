"""Run a study: make exit waves, networks, images and tests that are missing, then tables and report."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.execution.base import Executor, StageProgress
from passband.files.atomic import remove_leftovers, require_space, write_json
from passband.files.jobs import Job, run_job
from passband.simulation.multislice.engine import MEMORY
from passband.studies.cost import compare_with_plan, disk_needed
from passband.studies.cross_tests import missing_tests
from passband.studies.folder import StudyFolder, missing_units
from passband.studies.jobs import TrainingGroup
from passband.studies.paths import StudyPaths
from passband.studies.study import Study
from passband.studies.target_jobs import check_task, make_targets
from passband.studies.wave_jobs import make_waves, wave_sets


def run(
    study: Study,
    folder: Path,
    executor: Executor,
    progress: StageProgress,
    *,
    finish: Callable[[StudyFolder], object],
    group: int = 1,
    memory: int = MEMORY,
) -> list[dict[str, Any]]:
    """Make everything of a study that is missing, then finish it; return the jobs that failed.

    Exit waves lie beside the folder. `finish` writes tables and report while it is locked, such as `report.build.write_results`.
    A worker trains `group` networks together; the multislice may take `memory` bytes in it.

    Raises:
        BadInputError: if the folder holds another study or is in use, the disk is or would be full, or nothing is left to
            make tables of.
    """
    # Workers may have another working directory.
    held = StudyFolder(study, StudyPaths(folder.absolute()))
    paths = held.paths
    held.check()
    for waves in wave_sets(study, paths):
        check_task(study.task, waves)
    absent = held.absent_waves()
    require_space(folder, disk_needed(study, sum(len(indices) for _, indices in absent)))
    with held.locked():
        held.adopt()
        began, workers, todo = time.perf_counter(), executor.workers, missing_units(held.counts(absent))
        remove_leftovers(folder, paths.jobs, paths.figures)
        executor.share(paths.root)
        for waves, indices in absent:
            make_waves(waves, study.split.total, indices, executor, progress, memory=memory)
            make_targets(study.task, waves, study.split.total, executor, progress)
        failed: list[dict[str, Any]] = []

        def run_jobs(stage: str, jobs: Sequence[Job], advance: Callable[[float], None]) -> None:
            for failure in executor.map(run_job, jobs, advance):
                what = {"stage": stage, "what": failure.task.label}
                failed.append(what | {"reason": failure.reason, "tries": failure.tries})

        left = held.missing(held.training_jobs)
        advance = progress.stage("networks", len(held.training_jobs), len(held.training_jobs) - len(left))
        if group > 1 and study.network.trains_in_groups:
            groups = [TrainingGroup(tuple(left[i : i + group])) for i in range(0, len(left), group)]
            executor.map(run_job, groups, advance)
            # What fails in a group is tried alone, which gives the reason.
            left = held.missing(left)
        run_jobs("train", left, advance)
        left = held.missing(held.image_jobs)
        run_jobs("images", left, progress.stage("images", len(held.image_jobs), len(held.image_jobs) - len(left)))
        covered = held.coverage()
        advance = progress.stage("tests", covered.done.size, int(covered.done.sum()))
        run_jobs("tests", missing_tests(study, paths, covered), advance)
        write_json(paths.failed, failed)
        for fault in failed:
            progress.note(f"failed: {fault['what']}: {fault['reason']}")
        # Workers that were killed leave their temporary folders.
        remove_leftovers(folder, paths.jobs, paths.figures)
        if reasons := [fault["reason"] for fault in failed if fault["stage"] == "images"]:
            raise BadInputError(
                f"{folder}: test images of a condition could not be made ({reasons[0]}); correct it and run the same command again, finished work is kept"
            )
        _require_all_tests(held, failed)
        finish(held)
        line = compare_with_plan(held.planned(), study, todo, workers, time.perf_counter() - began)
        if line is not None:
            progress.note(line)
    return failed


def _require_all_tests(held: StudyFolder, failed: list[dict[str, Any]]) -> None:
    """Refuse to make tables that lack a test of a trained network, unless a job of tests failed."""
    covered = held.coverage()
    trained = np.array([weights is not None for weights in covered.weights])
    unexplained = len(trained) - int(trained.sum()) - sum(fault["stage"] == "train" for fault in failed)
    untested = int((~covered.done[trained]).sum())
    if unexplained > 0 or (untested and not any(fault["stage"] == "tests" for fault in failed)):
        raise BadInputError(
            f"{held.paths.folder}: {untested} of {covered.done.size} tests and {max(unexplained, 0)} of {len(trained)} networks are missing, though no job failed: "
            "their files were changed while the study ran; run the same command again, which makes them"
        )
