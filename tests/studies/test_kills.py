"""Studies that are killed at code points: before and after each rename, where a file is there and what follows is not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from support.studies import TABLES, study

TESTS = Path(__file__).parent.parent


def same_tables(folder, reference):
    for name in TABLES:
        assert pl.read_parquet(folder / f"{name}.parquet").equals(pl.read_parquet(reference / f"{name}.parquet")), name


def environment(*folders):
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, folders), str(TESTS), os.environ.get("PYTHONPATH", "")])
    }


def kills(folder, *words):
    done = subprocess.run(
        [sys.executable, "-m", "support.kills", str(folder), *words],
        env=environment(), capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def check(folder, tiny):
    same_tables(folder / "runs/small", tiny[1])
    # Exit waves are shared with other studies, which may be writing there.
    assert not list((folder / "runs/small").rglob(".*.tmp*"))


@pytest.mark.slow
def test_a_run_that_is_killed_one_rename_later_each_time_ends_with_the_same_tables(tiny, tmp_path):
    study(tmp_path)
    shutil.copytree(tiny[1].parent / "exit_waves", tmp_path / "runs/exit_waves")
    assert kills(tmp_path, "after") >= 4
    check(tmp_path, tiny)


@pytest.mark.slow
def test_the_same_where_exit_waves_are_made_too(tiny, tmp_path):
    study(tmp_path)
    assert kills(tmp_path, "after") >= 10
    check(tmp_path, tiny)


@pytest.mark.slow
def test_a_run_that_is_killed_before_every_rename_ends_with_the_same_tables(tiny, tmp_path):
    study(tmp_path)
    shutil.copytree(tiny[1].parent / "exit_waves", tmp_path / "runs/exit_waves")
    assert kills(tmp_path, "before", "each") >= 20
    check(tmp_path, tiny)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["processes", pytest.param("dask", marks=pytest.mark.cluster)])
@pytest.mark.parametrize(("number", "when"), [(1, "before"), (3, "after")])
def test_a_worker_that_is_killed_at_a_rename_costs_nothing(tiny, tmp_path, executor, number, when):
    """Every worker would die at this rename, the first does; the run goes on with another."""
    study(tmp_path)
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        "import sys\n"
        "if not any('passband' in word for word in sys.orig_argv):\n"
        "    from support.kills import kill_at\n"
        f"    kill_at({number}, {when!r}, {str(tmp_path / 'killed')!r})\n"
    )
    words = ["study", "run", "small.yaml", "--workers", "2", "--executor", executor]
    done = subprocess.run(
        [sys.executable, "-m", "passband.cli", *words],
        cwd=tmp_path, env=environment(hook), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed").exists()
    same_tables(tmp_path / "runs/small", tiny[1])
