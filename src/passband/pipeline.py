"""Run a study: which cells are missing, make them, gather the tables, write the report."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from passband import evaluations, stages
from passband.errors import BadInputError
from passband.estimates import verdict
from passband.executor import Executor, Failure, Progress
from passband.multislice.engine import MEMORY
from passband.store import atomic
from passband.store.atomic import disk_errors, remove_leftovers, require_space, write_json
from passband.store.exit_waves import WaveSet
from passband.store.paths import StudyPaths
from passband.store.runs import is_finished
from passband.study import Study, adopt, check_folder

# Share of the beam lost beyond the band limit from which it is said; from 5 % the multislice refuses.
_LOST_INTENSITY = 0.01
#: The stages made of cells, in their order, and what their progress is called; tests of the networks follow.
STAGES = {"train": "networks", "images": "images"}


class StageProgress(Protocol):
    """Shows how far a stage is."""

    def note(self, text: str) -> None:
        """Say something in one line."""
        ...

    def stage(self, name: str, total: int, done: int) -> Progress:
        """Begin a stage of `total` units with `done` finished before; return the function that advances it."""
        ...


@dataclass(frozen=True)
class Plan:
    """All cells of a study."""

    study: Study
    paths: StudyPaths

    def cells(self, stage: str) -> list[stages.Cell]:
        """Return the cells of a stage in the order of the tables."""
        seeds = range(1 if stage == "images" else self.study.seeds)
        return [
            stages.Cell(self.study, self.paths, stage, i, s)
            for i in range(len(self.study.tests() if stage == "images" else self.study.trainings))
            for s in seeds
        ]

    def missing(self, stage: str) -> list[stages.Cell]:
        """Return the cells of a stage that are not finished."""
        return [cell for cell in self.cells(stage) if not is_finished(cell.folder)]

    def coverage(self) -> evaluations.Coverage:
        """Return which networks are tested on which conditions."""
        return evaluations.coverage(self.study, self.paths, self.cells("train"))

    def failures(self) -> list[dict[str, Any]]:
        """Return what the last run gave up: stage, what, reason and tries of each."""
        try:
            content = json.loads(self.paths.failed.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return content if isinstance(content, list) else []

    def require_finished(self) -> None:
        """Raise if anything is missing that the last run did not give up.

        Raises:
            BadInputError: saying what is missing and how to go on.
        """
        unfinished = {stage: n for stage, n in self.todo().items() if n}
        if unfinished and not (self.failures() and set(unfinished) <= {"train", "tests"}):
            what = ", ".join(f"{n} {stage}" for stage, n in unfinished.items())
            raise BadInputError(
                f"{self.paths.folder}: the study is not finished ({what} missing); `passband study run {self.paths.folder}` goes on with it"
            )

    def planned(self) -> dict[str, Any] | None:
        """Return what `study plan` expected, if it was asked."""
        try:
            content = json.loads(self.paths.plan.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def todo(self) -> dict[str, int]:
        """Return the units of each stage that are missing."""
        return {stage: n["total"] - n["done"] for stage, n in self.counts().items()}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return finished and total units of each stage; tests are pairs of network and condition."""
        sets, each = stages.wave_sets(self.study, self.paths), self.study.split.total
        total = each * len(sets)
        result = {"waves": {"done": total - sum(len(waves.missing(each)) for waves in sets), "total": total}}
        for stage in STAGES:
            cells = self.cells(stage)
            result[stage] = {"done": len(cells) - len(self.missing(stage)), "total": len(cells)}
        done = self.coverage().done
        return result | {"tests": {"done": int(done.sum()), "total": done.size}}


@contextmanager
def locked(paths: StudyPaths) -> Iterator[None]:
    """Hold the study folder, so that two runs do not work in it at once; a killed run lets go of it.

    Raises:
        BadInputError: if another run holds it.
    """
    try:
        with atomic.locked(paths.lock, wait=False):
            yield
    except BlockingIOError:
        raise BadInputError(
            f"{paths.folder}: another run is working in this folder; wait for it, or choose another folder with --out"
        ) from None


def run(
    study: Study,
    folder: Path,
    executor: Executor,
    progress: StageProgress,
    *,
    fleet: int = 1,
    memory: int = MEMORY,
) -> list[dict[str, Any]]:
    """Make everything of a study that is missing, then its tables and report; return what was given up.

    Args:
        study: what to do.
        folder: the study's folder; exit waves lie beside it.
        executor: where to do it.
        progress: where to show it.
        fleet: networks that a worker trains together.
        memory: bytes that the exit waves in work may take in a worker.

    Raises:
        BadInputError: if the folder holds another study or is in use, the disk is or would be full, or nothing is left to
            make tables of.
    """
    # Workers may have another working directory.
    plan = Plan(study, StudyPaths(folder.absolute()))
    check_folder(study, folder)
    absent = [(waves, waves.missing(study.split.total)) for waves in stages.wave_sets(study, plan.paths)]
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
                fleets = [stages.Fleet(tuple(left[i : i + fleet])) for i in range(0, len(left), fleet)]
                executor.map(stages.run_fleet, fleets, advance)
                # What fails in company is tried alone, and says why.
                left = plan.missing(stage)
            failed += [_told(study, stage, f) for f in executor.map(stages.run_cell, left, advance)]
        found = plan.coverage()
        blocks = evaluations.missing_blocks(study, plan.paths, found)
        advance = progress.stage("tests", found.done.size, int(found.done.sum()))
        failed += [_told(study, "tests", f) for f in executor.map(evaluations.run_block, blocks, advance)]
        write_json(plan.paths.failed, failed)
        for fault in failed:
            progress.note(f"given up: {fault['what']}: {fault['reason']}")
        if any(fault["stage"] == "images" for fault in failed):
            raise BadInputError(
                f"{folder}: test images of a condition could not be made ({failed[0]['reason']}); mend it and run the same command again, finished work is kept"
            )
        # It imports what no worker needs.
        from passband.gathering import gather

        gather(plan)
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
        tasks = stages.prepare_waves(waves, total, absent, memory)
    advance = progress.stage("exit waves", total, total - len(absent))
    for failure in executor.map(stages.make_waves, tasks, advance):
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
    if isinstance(task, evaluations.Block):
        what = f"tests of {len(task.networks)} networks on {len(task.tests)} conditions"
    else:
        what = f"{'network' if stage == 'train' else 'images'} under {task.subject.label}, seed {task.seed}"
    return {"stage": stage, "what": what, "reason": failure.reason, "tries": failure.tries}
