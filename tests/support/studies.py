"""Small studies, how they are run in this process and through the command line, and what they leave."""

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import polars as pl

from passband.execution.base import Serial
from passband.studies import runner
from passband.studies.result_tables import write_tables
from passband.studies.study import load_study

STUDY = """
name: small
specimens:
  seed: 3
  field_angstrom: 25.6
  particles: {count: [1, 1], diameter_angstrom: [12.0, 16.0]}
  substrate: {thickness_angstrom: [5.0, 8.0]}
exit_waves: {phonon_configurations: 1}
conditions:
  base: {energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500}
  vary: {defocus_angstrom: [-150, -75, 0, 75, 150]}
split: {train: 24, validation: 4, test: 6}
network: {widths: [4, 8, 16], stem: 2}
training: {epochs: 8, batch_size: 4}
seeds: 2
"""
#: As small as a study can be, for what is not about its results.
TINY = """
name: small
specimens:
  seed: 3
  field_angstrom: 19.2
  particles: {count: [1, 1], diameter_angstrom: [8.5, 9.5]}
  substrate: {thickness_angstrom: [4.0, 5.0]}
exit_waves: {phonon_configurations: 1}
conditions:
  base: {energy_ev: 300000, aberrations: {C30: -50000}, focal_spread_angstrom: 20, dose_per_angstrom2: 500}
  vary: {defocus_angstrom: [-100, 0, 100]}
split: {train: 6, validation: 2, test: 3}
network: {widths: [4, 8], stem: 2}
training: {epochs: 2, batch_size: 3}
seeds: 1
"""
#: Columns of scores.parquet, which others read.
SCORE_COLUMNS = [
    *("train_condition", "test_condition", "seed", "loss", "dice", "tp", "fp", "fn", "tn", "n_images"),
    *("particles", "found", "missed", "invented", "instance_f1", "surface_dice"),
    *("distance_angstrom", "absolute_distance_angstrom", "diameter_bias_angstrom"),
]
TABLES = ("scores", "conditions", "shift", "training", "counts")


def passband(*words, cwd):
    return subprocess.run(
        [sys.executable, "-m", "passband.cli", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=600
    )


def wait_for(happened, seconds=60):
    """Wait until something is the case; a test that waits in vain fails."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"in vain for {seconds} s"
        time.sleep(0.03)


SETS = TINY.replace(
    "  vary: {defocus_angstrom: [-100, 0, 100]}",
    "  draw: {defocus_angstrom: {uniform: [-200, 200]}, C12: {uniform: [0, 80]}, phi12: {uniform: [-1, 1]}}\n"
    "  count: 6\n"
    "training_sets:\n"
    "  uniform: {sizes: [1, 3], draws: 2}\n"
    "  curriculum: {sizes: [3], method: guided, order: high_epsilon_first}",
)


def tables(folder):
    return {name: pl.read_parquet(folder / "runs" / "small" / f"{name}.parquet") for name in TABLES}


class Quiet:
    """Progress that remembers what was said and how much was new."""

    def __init__(self):
        self.said, self.new = [], {}

    def note(self, text):
        self.said.append(text)

    def stage(self, name, total, done):
        self.new[name] = total - done
        return lambda share: None


def study(folder, *changes):
    text = TINY
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "small.yaml").write_text(text)
    return load_study(folder / "small.yaml")


def run(config, folder, executor=None, *, finish=write_tables, **options):
    """Run a study in this process, without analysis and report unless `finish` makes them; return failures and progress."""
    progress = Quiet()
    failed = runner.run(config, folder, executor or Serial(), progress, finish=finish, **options)
    return failed, progress


def traces(folder):
    """Finished units; os.walk passes over temporary folders that are renamed while it looks."""
    found = 0
    for place, _, files in os.walk(folder):
        if Path(place).parent.name == "cells" and not Path(place).name.startswith("."):
            found += "done.json" in files
        elif Path(place).name == "manifest":
            found += sum(name.endswith(".json") for name in files)
    return found


@contextmanager
def started(folder):
    """A run of the small study in its own process group, killed at the end whatever happens."""
    run = subprocess.Popen(
        [sys.executable, "-m", "passband.cli", "study", "run", "small.yaml", "--workers", "2"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    with ended(run):
        yield run


@contextmanager
def ended(process):
    """Kill a process and its group at the end, whatever happens."""
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def workers_of(run):
    """Processes of the run's group beside its own."""
    return [pid for pid in group(run.pid) if pid != run.pid]


def group(number):
    """Living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == number and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found
