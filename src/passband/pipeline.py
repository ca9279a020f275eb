"""Run a study: which cells are missing, make them, gather the tables, write the report."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import torch

from passband import __version__, analysis, configuration, stages
from passband.errors import BadInputError
from passband.evaluation import cross_table
from passband.executor import Executor, Progress
from passband.shift.weights import tabulated
from passband.store import atomic
from passband.store.atomic import disk_errors, remove_leftovers, require_space, write_json, write_text
from passband.store.paths import StudyPaths
from passband.store.runs import discard, is_finished, marker
from passband.store.tables import write_table
from passband.study import Study, check_folder, condition_row

# Share of the beam lost beyond the band limit from which it is said; from 5 % the multislice refuses.
_LOST_INTENSITY = 0.01
#: The stages after the exit waves, in their order, and what their progress is called; tests need the networks.
STAGES = {"train": "networks", "images": "images", "evaluate": "tests"}


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

    def require_finished(self) -> None:
        """Raise if anything is missing.

        Raises:
            BadInputError: saying what is missing and how to go on.
        """
        unfinished = {stage: n["total"] - n["done"] for stage, n in self.counts().items() if n["done"] < n["total"]}
        if unfinished:
            what = ", ".join(f"{n} {stage}" for stage, n in unfinished.items())
            raise BadInputError(
                f"{self.paths.folder}: the study is not finished ({what} missing); `passband study run {self.paths.folder}` goes on with it"
            )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return finished and total units of each stage."""
        waves = stages.wave_set(self.study, self.paths)
        total = self.study.split.total
        result = {"waves": {"done": total - len(waves.missing(total)), "total": total}}
        for stage in STAGES:
            cells = self.cells(stage)
            result[stage] = {"done": len(cells) - len(self.missing(stage)), "total": len(cells)}
        return result


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


def run(study: Study, folder: Path, executor: Executor, progress: StageProgress) -> None:
    """Make everything of a study that is missing, then its tables and report.

    Args:
        study: what to do.
        folder: the study's folder; exit waves lie beside it.
        executor: where to do it.
        progress: where to show it.

    Raises:
        BadInputError: if the folder holds another study or is in use, or the disk is or would be full.
    """
    plan = Plan(study, StudyPaths(folder))
    check_folder(study, folder)
    waves = stages.wave_set(study, plan.paths)
    absent = waves.missing(study.split.total)
    require_space(
        folder,
        int(len(absent) * stages.bytes_per_specimen(waves) + 5e6 + 1e6 * len(study.all_conditions()) * study.seeds),
    )
    with locked(plan.paths):
        write_text(plan.paths.study, configuration.dump(study))
        remove_leftovers(folder, plan.paths.cells, plan.paths.figures)
        with disk_errors(waves.folder):
            tasks = stages.prepare_waves(waves, study.split.total, absent)
        done = study.split.total - sum(len(t.specimens) for t in tasks)
        advance = progress.stage("exit waves", study.split.total, done)
        executor.map(stages.make_waves, tasks, advance)
        lost = max(facts["lost_intensity"] for facts in waves.facts(study.split.total))
        if lost > _LOST_INTENSITY:
            progress.note(
                f"warning: up to {lost:.1%} of the beam is scattered beyond the multislice's band limit; "
                f"lower exit_waves.sampling_angstrom from {study.exit_waves.sampling_angstrom:g} to keep it"
            )
        for stage, title in STAGES.items():
            cells = plan.cells(stage)
            missing = plan.missing(stage)
            if stage == "train":
                # A network that is made again may differ in its last digits; its old tests are not its tests.
                for cell in missing:
                    discard(replace(cell, stage="evaluate").folder)
            advance = progress.stage(title, len(cells), len(cells) - len(missing))
            executor.map(stages.run_cell, missing, advance)
        gather(plan)


def gather(plan: Plan) -> None:
    """Write tables, analysis, figures and report from the cells of a study, all of which must be finished."""
    from passband.report.page import write_report

    # Sums are split between threads, so their number would change the last digits of the metrics.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tables = _tables(plan)
    finally:
        torch.set_num_threads(threads)
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
        "provenance": _provenance(plan),
    }
    write_json(plan.paths.analysis, result)
    write_report(plan, tables, pairs, result)


def _tables(plan: Plan) -> dict[str, pl.DataFrame]:
    study = plan.study
    conditions = study.all_conditions()
    labels = study.labels()
    images = plan.cells("images")
    statistics = [cell.statistics() for cell in images]
    q, power = stages.specimen_power(study, plan.paths)
    spectra = np.array([cell.spectra() for cell in images])
    shift = analysis.shift_table(conditions, study.q_max_per_angstrom, spectra, exit_wave=tabulated(q, power))
    epsilon = shift.filter(pl.col("train_condition") == pl.col("test_condition"))["epsilon_train"]
    rows = [
        condition_row(c, labels[c.id])
        | {"epsilon": e, "image_mean": s["image_mean"], "image_contrast": s["image_contrast"]}
        for c, e, s in zip(conditions, epsilon, statistics, strict=True)
    ]
    counts = pl.concat([cell.table() for cell in plan.cells("evaluate")])
    training = [
        cell.table()
        .with_columns(condition=pl.lit(cell.imaging.id), seed=pl.lit(cell.seed, pl.Int64))
        .select("condition", "seed", pl.all().exclude("condition", "seed"))
        for cell in plan.cells("train")
    ]
    return {
        "scores": cross_table(counts),
        "conditions": pl.DataFrame(rows, infer_schema_length=None),
        "shift": shift,
        "training": pl.concat(training),
        "specimen_power": pl.DataFrame({"q_per_angstrom": q, "power_angstrom2": power}),
        "counts": counts,
    }


def _provenance(plan: Plan) -> dict[str, Any]:
    """Return versions, seeds and the time that the work took, summed over all runs of it."""
    waves = stages.wave_set(plan.study, plan.paths)
    facts = waves.facts(plan.study.split.total)
    seconds = {"waves": sum(f["seconds"] for f in facts)}
    for stage in STAGES:
        seconds[stage] = sum((marker(cell.folder) or {}).get("seconds", 0.0) for cell in plan.cells(stage))
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
