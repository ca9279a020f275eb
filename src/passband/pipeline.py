"""Run a study: which cells are missing, make them, gather the tables, write the report."""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch

from passband import __version__, evaluations, stages
from passband.errors import BadInputError
from passband.estimates import verdict
from passband.executor import Executor, Failure, Progress
from passband.multislice.engine import MEMORY
from passband.shift.weights import tabulated
from passband.store import atomic
from passband.store.atomic import disk_errors, remove_leftovers, require_space, write_json
from passband.store.exit_waves import WaveSet
from passband.store.paths import StudyPaths
from passband.store.runs import is_finished, marker
from passband.store.tables import write_table
from passband.study import Study, adopt, check_folder, condition_row

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
            stages.Cell(self.study, self.paths, stage, c, s)
            for c in range(len(self.study.all_conditions()))
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
        waves = stages.wave_set(self.study, self.paths)
        total = self.study.split.total
        result = {"waves": {"done": total - len(waves.missing(total)), "total": total}}
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
    waves = stages.wave_set(study, plan.paths)
    absent = waves.missing(study.split.total)
    require_space(folder, disk_needed(study, len(absent)))
    with locked(plan.paths):
        adopt(study, folder)
        began, workers, todo = time.perf_counter(), executor.workers, plan.todo()
        remove_leftovers(folder, plan.paths.cells, plan.paths.figures)
        executor.share(plan.paths.root)
        make_waves(waves, study.split.total, absent, executor, progress, memory=memory)
        failed: list[dict[str, Any]] = []
        for stage, title in STAGES.items():
            cells, missing = plan.cells(stage), plan.missing(stage)
            advance = progress.stage(title, len(cells), len(cells) - len(missing))
            if stage == "train" and fleet > 1:
                fleets = [stages.Fleet(tuple(missing[i : i + fleet])) for i in range(0, len(missing), fleet)]
                executor.map(stages.run_fleet, fleets, advance)
                # What fails in company is tried alone, and says why.
                missing = plan.missing(stage)
            failed += [_told(study, stage, f) for f in executor.map(stages.run_cell, missing, advance)]
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
        gather(plan)
        line = verdict(plan.planned(), study, todo, workers, time.perf_counter() - began)
        if line is not None:
            progress.note(line)
    return failed


def disk_needed(study: Study, absent: int) -> int:
    """Return the bytes that a study takes at most on disk, given how many exit waves are missing."""
    waves = 8 * absent * study.exit_waves.phonon_configurations
    band = np.pi * (study.exit_waves.band_per_angstrom * study.specimens.field_angstrom) ** 2
    masks = absent * study.exit_waves.grid_points(study.specimens.field_angstrom) ** 2
    return int(waves * band + masks + 5e6 + 1e6 * len(study.all_conditions()) * study.seeds)


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
        what = f"tests of {len(task.networks)} networks on {len(task.conditions)} conditions"
    else:
        what = (
            f"{'network' if stage == 'train' else 'images'} under {study.labels()[task.imaging.id]}, seed {task.seed}"
        )
    return {"stage": stage, "what": what, "reason": failure.reason, "tries": failure.tries}


def gather(plan: Plan) -> None:
    """Write tables, analysis, figures and report from the finished cells of a study; only networks may be missing.

    Raises:
        BadInputError: if no network is tested.
    """
    # These import what no worker needs.
    from passband import analysis
    from passband.report.page import write_report

    # Sums are split between threads, so their number would change the last digits of the metrics.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tables = _tables(plan)
    finally:
        torch.set_num_threads(threads)
    if "counts" not in tables:
        plan.paths.table("counts").unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(plan.paths.table(name), table)
    pairs = analysis.join_pairs(tables["scores"], tables["shift"], tables["conditions"])
    fits = analysis.fit_all(pairs)
    training = tables["training"].join(
        tables["conditions"].select("condition", "epsilon"), on="condition", how="left", maintain_order="left"
    )
    result = {
        "study": plan.study.name,
        "study_id": plan.study.id,
        "findings": analysis.findings(pairs, training, fits),
        "fits": fits,
        "failed": plan.failures(),
        "provenance": _provenance(plan),
    }
    write_json(plan.paths.analysis, result)
    write_report(plan, tables, pairs, result)


def _tables(plan: Plan) -> dict[str, pl.DataFrame]:
    from passband.analysis import shift_table

    study = plan.study
    found = plan.coverage()
    if not found.blocks:
        reasons = "; ".join(sorted({f["reason"] for f in plan.failures()}))
        raise BadInputError(f"{plan.paths.folder}: no network was trained and tested ({reasons}); change the study")
    conditions = study.all_conditions()
    labels = study.labels()
    images = plan.cells("images")
    statistics = [cell.statistics() for cell in images]
    q, power = stages.specimen_power(study, plan.paths)
    spectra = np.array([cell.spectra() for cell in images])
    shift = shift_table(conditions, study.q_max_per_angstrom, spectra, exit_wave=tabulated(q, power))
    epsilon = shift.filter(pl.col("train_condition") == pl.col("test_condition"))["epsilon_train"]
    rows = [
        condition_row(c, labels[c.id])
        | {"epsilon": e, "image_mean": s["image_mean"], "image_contrast": s["image_contrast"]}
        for c, e, s in zip(conditions, epsilon, statistics, strict=True)
    ]
    scores, counts = evaluations.tables(study, found)
    training = [
        cell.table()
        .with_columns(condition=pl.lit(cell.imaging.id), seed=pl.lit(cell.seed, pl.Int64))
        .select("condition", "seed", pl.all().exclude("condition", "seed"))
        for cell, weights in zip(found.networks, found.weights, strict=True)
        if weights is not None
    ]
    result = {
        "scores": scores,
        "conditions": pl.DataFrame(rows, infer_schema_length=None),
        "shift": shift,
        "training": pl.concat(training),
        "specimen_power": pl.DataFrame({"q_per_angstrom": q, "power_angstrom2": power}),
    }
    if counts is not None:
        result["counts"] = counts
    return result


def _provenance(plan: Plan) -> dict[str, Any]:
    """Return versions, seeds and the time that the work took, summed over all runs of it."""
    waves = stages.wave_set(plan.study, plan.paths)
    facts = waves.facts(plan.study.split.total)
    seconds = {"waves": sum(f["seconds"] for f in facts)}
    for stage in STAGES:
        seconds[stage] = sum((marker(cell.folder) or {}).get("seconds", 0.0) for cell in plan.cells(stage))
    seconds["tests"] = plan.coverage().seconds
    return {
        "versions": {"passband": __version__, "python": platform.python_version()}
        | {
            name: version(name)
            for name in ("torch", "abtem", "ase", "numpy", "scipy", "scikit-learn", "zarr", "polars")
        },
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {sys.version_info.major}.{sys.version_info.minor}",
        "seeds": {"specimens": plan.study.specimens.seed, "networks": list(range(plan.study.seeds))},
        "core_seconds": seconds,
        "waves": {
            "id": waves.folder.name,
            "specimens": len(facts),
            "bytes_per_specimen": stages.bytes_per_specimen(waves),
            "atoms_mean": float(np.mean([f["atoms"] for f in facts])),
            "lost_intensity_max": max(f["lost_intensity"] for f in facts),
            "dropped_intensity_max": max(f["dropped_intensity"] for f in facts),
        },
    }
