"""Run a study: which cells are missing, and make them."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.execution.base import Executor, Failure, StageProgress
from passband.files.atomic import disk_errors, remove_leftovers, require_space, write_json
from passband.simulation.multislice.engine import MEMORY
from passband.simulation.wave_store import WaveSet
from passband.studies import cross_tests, jobs
from passband.studies.folder import STAGES, StudyFolder, locked
from passband.studies.paths import StudyPaths
from passband.studies.study import Study, adopt, check_folder
from passband.studies.wall_time import verdict

# Share of the beam lost beyond the band limit from which it is said; from 5 % the multislice refuses.
_LOST_INTENSITY = 0.01


def run(
    study: Study,
    folder: Path,
    executor: Executor,
    progress: StageProgress,
    *,
    finish: Callable[[StudyFolder], object],
    fleet: int = 1,
    memory: int = MEMORY,
) -> list[dict[str, Any]]:
    """Make everything of a study that is missing, then what is made of it; return what was given up.

    Args:
        study: what to do.
        folder: the study's folder; exit waves lie beside it.
        executor: where to do it.
        progress: where to show it.
        finish: called with the finished study while its folder is held, such as `report.build.gather`, which writes tables and report.
        fleet: networks that a worker trains together.
        memory: bytes that the exit waves in work may take in a worker.

    Raises:
        BadInputError: if the folder holds another study or is in use, the disk is or would be full, or nothing is left to
            make tables of.
    """
    # Workers may have another working directory.
    plan = StudyFolder(study, StudyPaths(folder.absolute()))
    check_folder(study, folder)
    absent = [(waves, waves.missing(study.split.total)) for waves in jobs.wave_sets(study, plan.paths)]
    require_space(folder, disk_needed(study, sum(len(missing) for _, missing in absent)))
    with locked(plan.paths):
        adopt(study, folder)
        began, workers, todo = time.perf_counter(), executor.workers, plan.todo()
        remove_leftovers(folder, plan.paths.cells, plan.paths.figures)
        executor.share(plan.paths.root)
        for waves, missing in absent:
            make_waves(waves, study.split.total, missing, executor, progress, memory=memory)
        failed: list[dict[str, Any]] = []
        for stage, title in STAGES.items():
            cells, left = plan.cells(stage), plan.missing(stage)
            advance = progress.stage(title, len(cells), len(cells) - len(left))
            if stage == "train" and fleet > 1 and study.network.joins_fleets:
                fleets = [jobs.Fleet(tuple(left[i : i + fleet])) for i in range(0, len(left), fleet)]
                executor.map(jobs.run_fleet, fleets, advance)
                # What fails in company is tried alone, and says why.
                left = plan.missing(stage)
            failed += [_told(study, stage, f) for f in executor.map(jobs.run_cell, left, advance)]
        found = plan.coverage()
        blocks = cross_tests.missing_blocks(study, plan.paths, found)
        advance = progress.stage("tests", found.done.size, int(found.done.sum()))
        failed += [_told(study, "tests", f) for f in executor.map(cross_tests.run_block, blocks, advance)]
        write_json(plan.paths.failed, failed)
        for fault in failed:
            progress.note(f"given up: {fault['what']}: {fault['reason']}")
        if any(fault["stage"] == "images" for fault in failed):
            raise BadInputError(
                f"{folder}: test images of a condition could not be made ({failed[0]['reason']}); mend it and run the same command again, finished work is kept"
            )
        finish(plan)
        line = verdict(plan.planned(), study, todo, workers, time.perf_counter() - began)
        if line is not None:
            progress.note(line)
    return failed


def disk_needed(study: Study, absent: int) -> int:
    """Return the bytes that a study takes at most on disk, given how many exit waves are missing."""
    field = max(recipe.field_angstrom for recipe in study.recipes.values())
    waves = 8 * absent * study.exit_waves.phonon_configurations
    band = np.pi * (study.exit_waves.band_per_angstrom * field) ** 2
    masks = absent * study.exit_waves.grid_points(field) ** 2
    # Weights and predictions of a network; those of the zoo are a hundred times as large.
    network = 1e6 if study.network.joins_fleets else 1e8
    return int(waves * band + masks + 5e6 + network * len(study.trainings) * study.seeds)


def make_waves(
    waves: WaveSet,
    total: int,
    absent: list[int],
    executor: Executor,
    progress: StageProgress,
    *,
    memory: int = MEMORY,
) -> None:
    """Make the absent ones of `total` exit waves, and warn where much of the beam was lost.

    Raises:
        BadInputError: if one cannot be made, for whatever uses them needs them all.
    """
    with disk_errors(waves.folder):
        tasks = jobs.prepare_waves(waves, total, absent, memory)
    advance = progress.stage("exit waves", total, total - len(absent))
    for failure in executor.map(jobs.make_waves, tasks, advance):
        first, last = failure.task.specimens[0], failure.task.specimens[-1]
        raise BadInputError(
            f"{waves.folder}: exit waves of specimens {first} to {last} could not be made in {failure.tries} tries ({failure.reason}); "
            "mend it and run the same command again, finished work is kept"
        )
    lost = max(facts["lost_intensity"] for facts in waves.facts(total))
    if lost > _LOST_INTENSITY:
        progress.note(
            f"warning: up to {lost:.1%} of the beam is scattered beyond the multislice's band limit; "
            f"lower exit_waves.sampling_angstrom from {waves.config.sampling_angstrom:g} to keep it"
        )


def _told(study: Study, stage: str, failure: Failure) -> dict[str, Any]:
    """Return a failure as JSON: what it was, in words, and why."""
    task = failure.task
    if isinstance(task, cross_tests.Block):
        what = f"tests of {len(task.networks)} networks on {len(task.tests)} conditions"
    else:
        what = f"{'network' if stage == 'train' else 'images'} under {task.subject.label}, seed {task.seed}"
    return {"stage": stage, "what": what, "reason": failure.reason, "tries": failure.tries}
