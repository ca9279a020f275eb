"""Run the demo from an empty folder, with the first version of this repository and with the current one.

    python benchmarks/first_version.py

The first version is the commit that introduced studies/defocus.yaml, checked out in a git worktree and run by the same Python with the
same number of workers. Recipes, engine, network and schedule have changed since; the note gives the scores of both.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
from earlier import ROOT, checked_out
from rows import CORES, Row, write


def run(tree: Path, out: Path) -> float:
    """Return the seconds of a study run by the code of a tree."""
    began = time.perf_counter()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "passband.cli",
            "study",
            "run",
            str(tree / "studies/defocus.yaml"),
            "--out",
            str(out),
            "--workers",
            str(CORES),
        ],
        env=os.environ | {"PYTHONPATH": str(tree / "src")},
        cwd=out.parent,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def own_dice(folder: Path) -> tuple[float, float]:
    """Return the median Dice under the own condition and the median spread between seeds."""
    scores = pl.read_parquet(folder / "scores.parquet")
    own = scores.filter(pl.col("train_condition") == pl.col("test_condition"))
    spread = own.group_by("train_condition").agg(spread=pl.col("dice").max() - pl.col("dice").min())
    return float(own["dice"].median() or 0), float(spread["spread"].median() or 0)


def main() -> None:
    found = subprocess.run(
        ["git", "log", "--diff-filter=A", "--format=%H", "--", "studies/defocus.yaml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    commit = found.stdout.split()[-1]
    with tempfile.TemporaryDirectory() as place, checked_out(commit) as first:
        runs = Path(place)
        (runs / "a").mkdir()
        (runs / "b").mkdir()
        ours, theirs = run(ROOT, runs / "a/study"), run(first, runs / "b/study")
        (dice, spread), (old_dice, old_spread) = own_dice(runs / "a/study"), own_dice(runs / "b/study")
    note = (
        f"median Dice under the own condition {dice:.3f} (between seeds {spread:.3f}), first version {old_dice:.3f} "
        f"({old_spread:.3f}), which drew other specimens"
    )
    write(
        Row("demo study, end to end", ours, theirs, f"s, the first version ({commit[:7]})", theirs / ours, 3, note=note)
    )


if __name__ == "__main__":
    main()
