"""A whole small study through the command line, and what is left of it when it is killed."""

import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir, suppress
from itertools import chain

import polars as pl
import pytest
from markupsafe import escape

from passband.report.study_page import PAIR_FIGURES
from passband.studies.study import load_study
from support.shell import run_here
from support.studies import (
    SCORE_COLUMNS,
    STUDY,
    TINY,
    ended,
    group,
    passband,
    started,
    study,
    tables,
    traces,
    wait_for,
    workers_of,
)

# Studies in processes of their own; tests/cli/test_cli.py and tests/studies run small ones in this process.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(STUDY)
    with chdir(folder):
        code, out, error = run_here("study", "run", "small.yaml", "--workers", 1, "--json")
    assert code == 0, error
    return folder, json.loads(out), error


def test_tables_have_the_promised_columns_and_rows(finished):
    folder = finished[0]
    result = tables(folder)
    scores, shift = result["scores"], result["shift"]
    assert scores.columns == SCORE_COLUMNS
    assert len(scores) == 5 * 5 * 2
    assert set(scores["seed"]) == {0, 1}
    assert (scores["n_images"] == 6).all()
    assert (scores["tp"] + scores["fp"] + scores["fn"] + scores["tn"] == 6 * 64 * 64).all()
    assert {
        "train_condition",
        "test_condition",
        "epsilon_train",
        "epsilon_test",
        "delta_epsilon",
        "sigma",
        "sigma_reverse",
    } <= set(shift.columns)
    assert len(shift) == 25
    assert (
        set(scores["train_condition"])
        == set(result["conditions"]["condition"])
        == {c.id for c in load_study(folder / "small.yaml").test_conditions}
    )
    # The truth of a test image does not depend on who is asked.
    truth = result["counts"].select("test_condition", "specimen", p=pl.col("tp") + pl.col("fn")).unique()
    assert len(truth) == 5 * 6


def test_networks_learn_their_own_condition(finished):
    scores = tables(finished[0])["scores"]
    own = scores.filter(pl.col("train_condition") == pl.col("test_condition"))
    training = tables(finished[0])["training"]
    first, last = (training.filter(pl.col("epoch") == e)["train_loss"].mean() for e in (1, 8))
    assert last < 0.8 * first
    assert own["dice"].median() > 0.5


def test_analysis_has_every_fit(finished):
    analysis = json.loads((finished[0] / "runs/small/analysis.json").read_text())
    names = {(f["predictor"], f["pairs"]) for f in analysis["fits"]}
    assert {
        (p, s)
        for p in ("σ and Δε, linear", "σ and Δε, smooth", "|Δdefocus|, linear")
        for s in ("all", "without_zero_defocus")
    } <= names
    assert all(f["r2_in_sample"] is not None and f["r2_held_out"] is not None for f in analysis["fits"])
    assert analysis["findings"]["sentences"]
    assert sum(analysis["provenance"]["core_seconds"].values()) > 0


def test_report_is_one_offline_file(finished):
    folder = finished[0] / "runs/small"
    page = (folder / "report.html").read_text()
    # The headline has a matrix of its own.
    assert page.count("data:image/") == len(PAIR_FIGURES) + 7
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", page)
    for name in (
        "matrix_loss",
        "matrix_dice",
        "loss_over_shift",
        "ctf_curves",
        "epsilon_over_defocus",
        "training",
        "predicted_loss",
    ):
        assert (folder / "figures" / f"{name}.svg").stat().st_size > 1000
        assert (folder / "figures" / f"{name}.png").stat().st_size > 1000
    assert "phonon_configurations: 1" in page
    for sentence in json.loads((folder / "analysis.json").read_text())["findings"]["sentences"]:
        assert str(escape(sentence)) in page


def test_progress_goes_to_stderr_in_plain_lines(finished):
    assert "exit waves: 34 of 34" in finished[2]
    assert "networks: 10 of 10" in finished[2]
    assert "\x1b" not in finished[2]


def test_status_and_report_of_a_finished_study(finished, call):
    folder = finished[0]
    code, out, _ = call("study", "status", folder / "small.yaml", "--out", folder / "runs/small", "--json")
    assert code == 0
    assert json.loads(out)["finished"] is True
    before = tables(folder)
    (folder / "runs/small/scores.parquet").unlink()
    code, _, error = call("study", "report", folder / "runs/small")
    assert code == 0, error
    assert all(before[name].equals(table) for name, table in tables(folder).items())


def test_running_again_does_no_work_twice(finished, call):
    folder = finished[0]
    jobs = {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("done.json")}
    code, _, error = call("study", "run", folder / "runs/small", "--workers", 1)
    assert code == 0
    assert "networks: 10 of 10 were finished before" in error
    assert {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("done.json")} == jobs


def test_results_do_not_depend_on_the_number_of_workers(tiny, call, tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    code, _, error = call("study", "run", "small.yaml", "--workers", 2)
    assert code == 0, error
    expected = tables(tiny[1].parents[1])
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())


def test_damage_is_found_and_mended(tiny, call, tmp_path):
    shutil.copytree(tiny[1].parent, tmp_path / "runs")
    expected = tables(tmp_path)
    weights = next((tmp_path / "runs/small/cells").glob("train-*")) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    next((tmp_path / "runs/exit_waves").rglob("coefficients/c/7/0/0")).unlink()
    code, out, _ = call("study", "status", "runs/small", "--json")
    assert code == 1
    assert json.loads(out)["cells"]["waves"] == {"done": 10, "total": 11}
    code, _, error = call("study", "report", "runs/small")
    assert code == 2 and "1 waves, 1 train, 3 tests missing" in error and error.count("\n") == 1
    code, _, error = call("study", "run", "runs/small", "--workers", 1)
    assert code == 0, error
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())


def test_another_study_in_the_folder_is_refused(finished, call):
    folder = finished[0]
    (folder / "other.yaml").write_text(STUDY.replace("seeds: 2", "seeds: 1"))
    code, _, error = call("study", "run", folder / "other.yaml", "--out", folder / "runs/small")
    assert code == 2
    assert "holds study 'small'" in error and "--out" in error and error.count("\n") == 1


def test_two_runs_in_one_folder(finished, call, tmp_path):
    """Also from another working directory, and through a link."""
    runs = finished[0] / "runs"
    (tmp_path / "link").symlink_to(runs / "small")
    (tmp_path / "root").symlink_to(runs)
    with (runs / "small/.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for folder in (runs / "small", os.path.relpath(runs / "small"), "link", "root/small"):
            code, _, error = call("study", "run", folder, "--workers", 1)
            assert code == 2 and "another run is working in this folder" in error and error.count("\n") == 1


VICTIMS = ("worker", "driver", "all")


def test_killed_at_random_moments(finished, tmp_path, kills=12):
    """kill −9 of a worker, the driver or both, while it starts, at work and while it makes the report; each at least once."""
    expected = finished[0]
    (tmp_path / "small.yaml").write_text(STUDY)
    moments, everything, pause = random.Random(5), traces(expected), 0.8
    coming = chain(VICTIMS, iter(lambda: moments.choice(["worker", *VICTIMS]), None))
    done = dict.fromkeys(VICTIMS, 0)
    victim = next(coming)
    while sum(done.values()) < kills:
        late = traces(tmp_path) >= everything
        with started(tmp_path) as run:
            # Several workers may die in one run, which goes on; a driver's death ends it.
            wanted = traces(tmp_path) + (0 if late else 1)
            wait_for(lambda run=run, wanted=wanted: run.poll() is not None or traces(tmp_path) >= wanted, 120)
            while run.poll() is None and sum(done.values()) < kills:
                time.sleep(moments.uniform(0, 4 if late else pause))
                if run.poll() is not None:
                    break
                if victim == "worker" and (found := workers_of(run)):
                    with suppress(ProcessLookupError):
                        os.kill(moments.choice(found), signal.SIGKILL)
                elif victim == "driver":
                    run.kill()
                    run.wait()
                else:
                    victim = "all"
                    os.killpg(run.pid, signal.SIGKILL)
                    run.wait()
                done[victim] += 1
                victim = next(coming)
    assert min(done.values()) > 0
    last = passband("study", "run", "small.yaml", "--workers", 2, cwd=tmp_path)
    assert last.returncode == 0, last.stderr
    expected = tables(expected)
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())
    assert not list((tmp_path / "runs").rglob("*.tmp*"))


def test_sigterm_ends_it_soon_and_it_can_be_resumed(tmp_path):
    study(tmp_path, ("epochs: 2", "epochs: 3000"))
    run = subprocess.Popen(
        [sys.executable, "-m", "passband.cli", "study", "run", "small.yaml", "--workers", "2"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with ended(run):
        wait_for(lambda: traces(tmp_path) >= 11 or run.poll() is not None, 120)
        assert run.poll() is None
        began = time.monotonic()
        run.terminate()
        _, error = run.communicate(timeout=30)
        assert time.monotonic() - began < 20
        assert run.returncode == 143 and "ended by SIGTERM; run the same command again" in error.splitlines()[-1]
        # The standard library's resource tracker ends a moment after its parent.
        wait_for(lambda: not group(run.pid), 10)
    assert not list((tmp_path / "runs").rglob("*.tmp*"))


def test_drivers_at_once(tiny, tmp_path):
    """One works, those elsewhere and through links say so and leave it alone."""
    (tmp_path / "small.yaml").write_text(TINY)
    (tmp_path / "runs").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "there/link").symlink_to(tmp_path / "runs")
    command = [sys.executable, "-m", "passband.cli", "study", "run", tmp_path / "small.yaml", "--workers", "1"]
    runs = [
        subprocess.Popen(words, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for words, cwd in (
            (command, tmp_path),
            ([*command, "--out", "../runs/small"], tmp_path / "there"),
            ([*command, "--out", "link/small"], tmp_path / "there"),
        )
    ]
    errors = [run.communicate(timeout=300)[1] for run in runs]
    codes = [run.returncode for run in runs]
    assert sorted(codes) == [0, 2, 2], errors
    for code, error in zip(codes, errors, strict=True):
        assert code == 0 or (error.count("\n") == 1 and "another run is working in this folder" in error), error
    expected = tables(tiny[1].parents[1])
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())


def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)
    with started(tmp_path) as run:
        wait_for(lambda: traces(tmp_path) or run.poll() is not None, 120)
        assert run.poll() is None
        run.kill()
        run.wait()
        wait_for(lambda: not group(run.pid), 20)


@pytest.mark.cluster
def test_a_dask_cluster_gives_the_same_tables(tiny, tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    done = passband("study", "run", "small.yaml", "--executor", "dask", "--workers", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = tables(tiny[1].parents[1])
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())


def test_a_plan_and_whether_the_run_kept_to_it(call, tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    code, out, error = call("study", "plan", "small.yaml", "--workers", 1, "--cores", 64, "--price", 0.1, "--json")
    assert code == 0, error
    plan = json.loads(out)
    assert {s: n["total"] - n["done"] for s, n in plan["cells"].items()} == {
        "waves": 11,
        "train": 3,
        "images": 3,
        "tests": 9,
    }
    assert plan["workers"] == 64 and plan["cost"] == pytest.approx(0.1 * sum(plan["core_seconds"].values()) / 3600)
    assert all(plan["core_seconds"][stage] > 0 for stage in ("waves", "train", "images", "tests"))
    assert 0 < plan["disk_bytes"] < plan["disk_free_bytes"] and plan["memory_bytes_per_worker"] > 4e8
    code, _, error = call("study", "run", "small.yaml", "--workers", 1)
    assert code == 0, error
    assert re.search(r"took 0:0\d:\d\d, and 0:0\d:\d\d were planned", error)
    code, out, _ = call("study", "plan", "small.yaml", "--workers", 1)
    assert code == 0 and re.search(r"networks +0 +3 ", out), out


def test_too_little_memory_is_said_before_any_work(call, tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    code, _, error = call("study", "run", "small.yaml", "--workers", 1, "--memory", 0.005)
    assert code == 2 and len(error.splitlines()) == 1, error
    assert "--memory of 5 MB is less than the" in error and "96² samples" in error
    assert traces(tmp_path) == 0
