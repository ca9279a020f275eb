"""Run a study of 12,000 networks under 200 conditions with stubs for the science, and measure what is left: the work of the driver.

    python benchmarks/large_study.py [--seeds 60] [--folder FOLDER]

The runner, the Dask cluster of this machine, the jobs' folders with their checksums, and the tables are passband's own. Only what a
job computes is replaced: a network is an untrained one, its scores are random numbers. Measured are the core time per network, the
driver's memory, the files and seconds of the tables, and how long it takes to see what is finished: in `passband study status`, and
until a run that is started again has its first job. The forecast is that of `passband study plan` for jobs that take no time. A
folder that is given stays, with its 1.5 GB; without one a temporary folder is used.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl
from rows import CORES, Row, write

from passband.execution.base import Executor, Failure, Progress, Work
from passband.execution.dask_cluster import Dask
from passband.files.jobs import Job, run_job
from passband.learning import SEGMENTATION, build
from passband.studies import cost, runner
from passband.studies.cross_tests import TestJob, prediction_name, shown_tests
from passband.studies.folder import StudyFolder
from passband.studies.jobs import ImagesJob, TrainingJob
from passband.studies.paths import StudyPaths
from passband.studies.result_tables import write_tables
from passband.studies.study import Study, load_study

WORKERS, CONDITIONS, SEEDS, IMAGES = 2, 200, 60, 10
_STUDY = f"""
name: large
specimens:
  seed: 3
  field_angstrom: 19.2
  particles: {{count: [1, 1], diameter_angstrom: [8.5, 9.5]}}
  substrate: {{thickness_angstrom: [4.0, 5.0]}}
exit_waves: {{phonon_configurations: 1}}
conditions:
  base: {{energy_ev: 300000, aberrations: {{C30: -50000}}, focal_spread_angstrom: 20, dose_per_angstrom2: 500}}
  draw: {{defocus_angstrom: {{uniform: [-400, 400]}}, C12: {{uniform: [0, 80]}}, phi12: {{uniform: [-1, 1]}}}}
  count: {CONDITIONS}
split: {{train: 6, validation: 2, test: {IMAGES}}}
network: {{widths: [4, 8], stem: 2}}
training: {{epochs: 2, batch_size: 3}}
"""
_PIXELS = 48


def make_network(job: TrainingJob, folder: Path, progress: Progress) -> None:
    """Write an untrained network with made-up losses."""
    history = [{"epoch": float(i), "train_loss": 1.0, "validation_loss": 1.0, "learning_rate": 0.01} for i in range(2)]
    job.write(folder, build(job.study.network), history)
    progress(1.0)


def make_images(job: ImagesJob, folder: Path, progress: Progress) -> None:
    """Write made-up statistics and spectra of images."""
    (folder / "statistics.json").write_text(json.dumps({"image_mean": 500.0, "image_contrast": 0.1}), encoding="utf-8")
    np.save(folder / "spectra.npy", np.ones((IMAGES, 24), np.float32))
    image = np.zeros((_PIXELS, _PIXELS))
    np.savez_compressed(folder / "samples.npz", image=image, truth=image > 0)
    progress(1.0)


def make_tests(job: TestJob, folder: Path, progress: Progress) -> None:
    """Write a table of made-up counts, as many rows as real tests have, and empty predictions."""
    rng, study = np.random.default_rng(0), job.study
    trained = pl.DataFrame({
        "train_condition": [n.domain.id for n in job.networks], "seed": [n.seed for n in job.networks]
    })  # fmt: skip
    tested = pl.DataFrame({"test_condition": [study.tests[i].id for i in job.tests]})
    images = pl.DataFrame({"specimen": range(*study.split.test_range)})
    table = tested.join(trained, how="cross").join(images, how="cross").select(
        "train_condition", "test_condition", "seed", "specimen"
    )  # fmt: skip
    numbers = {name: rng.integers(1, 1000, len(table), dtype=np.int32) for name in SEGMENTATION.counts}
    kinds = {
        name: values.astype(np.float32 if SEGMENTATION.counts[name] is float else np.int32)
        for name, values in numbers.items()
    }
    table = table.with_columns(pl.Series("loss", rng.random(len(table))), *(pl.Series(n, v) for n, v in kinds.items()))
    table.write_parquet(folder / "table.parquet")
    nothing = np.packbits(np.zeros((_PIXELS, _PIXELS), bool))
    shown = set(shown_tests(study)).intersection(job.tests)
    names = [prediction_name(n, study.tests[i]) for n in job.networks if n.seed == 0 for i in shown]
    if names:
        arrays: dict[str, Any] = dict.fromkeys(names, nothing)
        np.savez_compressed(folder / "predictions.npz", **arrays)
    progress(job.units)


def run_stub(job: Job, progress: Progress) -> None:
    """Run a job with the stubs in the place of the science."""
    for kind, make in ((TrainingJob, make_network), (ImagesJob, make_images), (TestJob, make_tests)):
        kind.make = make  # type: ignore[method-assign, assignment]
    run_job(job, progress)


class Stubbed(Dask):
    """The cluster of this machine, with stubs for the science."""

    def map(self, work: Work, tasks: Sequence[Any], progress: Progress) -> list[Failure]:
        """Run tasks as the runner asks for it, only with stubs."""
        return super().map(run_stub, tasks, progress)


class Clock:
    """Progress that notes when each stage began, and how many units of it were missing."""

    def __init__(self) -> None:
        """Start without stages."""
        self.began: dict[str, float] = {}
        self.spent: dict[str, float] = {}
        self.missing: dict[str, int] = {}
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a line."""
        self.notes.append(text)

    def stage(self, name: str, total: int, done: int) -> Progress:
        """Note the time, and the core time of this process, which has the scheduler too."""
        self.began[name], self.missing[name] = time.perf_counter(), total - done
        self.spent[name] = time.process_time()
        return lambda share: None

    def seconds(self, ended: float) -> dict[str, float]:
        """Return the seconds of each stage; the last ended then."""
        names, times = list(self.began), [*self.began.values(), ended]
        return {name: b - a for name, a, b in zip(names, times[:-1], times[1:], strict=True)}


class Idle(Executor):
    """Refuses tasks: a finished study has none."""

    def map(self, work: Work, tasks: Sequence[Any], progress: Progress) -> list[Failure]:
        """Check that there is nothing to do."""
        assert not tasks
        return []


def memory() -> float:
    """Return the highest memory of this process so far [GiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def timed(do: Callable[[], object]) -> float:
    """Return the seconds that something takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def status(folder: Path) -> float:
    """Return the seconds of `passband study status`, as a user waits for it; the study must be finished."""
    words = [sys.executable, "-m", "passband.cli", "study", "status", str(folder), "--json"]
    return timed(lambda: subprocess.run(words, check=True, capture_output=True))


def resume(study: Study, folder: Path) -> float:
    """Return the seconds of a run of a finished study until it knows that nothing is missing, tables left out."""
    ended: list[float] = []
    began = time.perf_counter()
    runner.run(study, folder, Idle(), Clock(), finish=lambda held: ended.append(time.perf_counter()))
    return ended[0] - began


def measure(study: Study, folder: Path) -> list[Row]:
    """Run the study in a folder, and return the rows."""
    held = StudyFolder(study, StudyPaths(folder))
    networks = len(study.trainings) * study.seeds
    planned = cost.estimate(study, held.paths, dict.fromkeys(cost.PARTS, 0.0), WORKERS)["wall_seconds"]
    times: dict[str, float] = {}

    def finish(made: StudyFolder) -> None:
        times["end"] = time.perf_counter()
        times["memory"] = memory()
        times["tables"] = timed(lambda: write_tables(made))

    clock = Clock()
    with Stubbed(WORKERS, None) as executor:
        runner.run(study, folder, executor, clock, finish=finish)
    stages = clock.seconds(times["end"])
    print(f"stages [s]: {stages}; tables {times['tables']:.0f} s; planned {planned:.0f} s", flush=True)
    took = sum(stages.values()) + times["tables"]
    parts = sum(1 for _ in held.paths.jobs.glob("evaluate-*/table.parquet"))
    seen = [status(folder) for _ in range(3)]
    again = [resume(study, folder) for _ in range(3)]
    what = f"{networks:,} networks × {len(study.tests)} conditions, stubs: "
    spent = clock.spent["images"] - clock.spent["networks"]
    each, wall, merged = (1e3 * s / networks for s in (spent, stages["networks"], networks * times["tables"] / 1e3))
    made = [
        Row(f"{what}a network through Dask", each, None, "ms of core time in driver and scheduler", None,
            note=f"{wall:.0f} ms by the clock, with the two workers that write it on the same 2 cores"),
        Row(f"{what}the whole, over its plan", took, planned, "s", took / planned, note=f"aim: from 0.5 to 2; load average {os.getloadavg()[1]:.0f} on {CORES} cores"),
        Row(f"{what}memory of the driver", times["memory"], 4, "GiB at most, before tables", 4 / times["memory"], 1,
            note=f"{memory():.1f} GiB with tables"),
    ]  # fmt: skip
    looked = [
        Row(f"{what}tables", merged, None, "s", None, note=f"from {parts:,} parts, {len(study.tests)}² pairs of conditions"),
        Row(f"{what}status", median(seen), 10, "s, the aim", 10 / median(seen), 1, [10 / s for s in sorted(seen)[::-1]]),
        Row(f"{what}resume", median(again), 10, "s, the aim", 10 / median(again), 1, [10 / s for s in sorted(again)[::-1]]),
    ]  # fmt: skip
    # Of a folder that was finished before, only what reads it.
    return [*made, *looked] if clock.missing["networks"] == networks else looked


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seeds", type=int, default=SEEDS)
    options.add_argument("--folder", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = chosen.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "large.yaml").write_text(f"{_STUDY}seeds: {chosen.seeds}\n", encoding="utf-8")
        rows = measure(load_study(folder / "large.yaml"), folder / "runs/large")
        write(*rows)


if __name__ == "__main__":
    # Workers find the stubs by the name of this module.
    import large_study

    large_study.main()
