"""A whole small study through the command line, and what is left of it when it is killed."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress

import polars as pl
import pytest
from markupsafe import escape

from passband.studies.study import load_study
from support.studies import STUDY, TINY, group, passband, started, tables, traces, workers_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    (folder / "small.yaml").write_text(STUDY)
    done = passband("study", "run", "small.yaml", "--workers", 2, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout), done.stderr


def test_tables_have_the_promised_columns_and_rows(finished):
    folder = finished[0]
    result = tables(folder)
    scores, shift = result["scores"], result["shift"]
    assert scores.columns == [
        "train_condition",
        "test_condition",
        "seed",
        "loss",
        "dice",
        "tp",
        "fp",
        "fn",
        "tn",
        "n_images",
    ]
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
    assert page.count("data:image/") == 8
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


def test_status_and_report_of_a_finished_study(finished):
    folder = finished[0]
    status = passband("study", "status", "small.yaml", "--json", cwd=folder)
    assert status.returncode == 0
    assert json.loads(status.stdout)["finished"] is True
    before = tables(folder)
    (folder / "runs/small/scores.parquet").unlink()
    again = passband("study", "report", "runs/small", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert all(before[name].equals(table) for name, table in tables(folder).items())


def test_running_again_does_no_work_twice(finished):
    folder = finished[0]
    cells = {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("done.json")}
    again = passband("study", "run", "runs/small", cwd=folder)
    assert again.returncode == 0
    assert "networks: 10 of 10 were finished before" in again.stderr
    assert {p: p.stat().st_mtime_ns for p in (folder / "runs").rglob("done.json")} == cells


def test_results_do_not_depend_on_the_number_of_workers(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)
    done = passband("study", "run", "small.yaml", "--workers", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = tables(finished[0])
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())


def test_damage_is_found_and_mended(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    expected = tables(folder)
    weights = next((folder / "runs/small/cells").glob("train-*")) / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    next((folder / "runs/exit_waves").rglob("coefficients/c/7/0/0")).unlink()
    status = passband("study", "status", "runs/small", "--json", cwd=folder)
    assert status.returncode == 1
    assert json.loads(status.stdout)["cells"]["waves"] == {"done": 33, "total": 34}
    report = passband("study", "report", "runs/small", cwd=folder)
    assert (
        report.returncode == 2
        and "1 waves, 1 train, 5 tests missing" in report.stderr
        and report.stderr.count("\n") == 1
    )
    done = passband("study", "run", "runs/small", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert all(expected[name].equals(table) for name, table in tables(folder).items())


def test_another_study_in_the_folder_is_refused(finished):
    folder = finished[0]
    (folder / "other.yaml").write_text(STUDY.replace("seeds: 2", "seeds: 1"))
    refused = passband("study", "run", "other.yaml", cwd=folder)
    assert refused.returncode == 2
    assert "holds study 'small'" in refused.stderr and "--out" in refused.stderr and refused.stderr.count("\n") == 1


def test_two_runs_in_one_folder(finished):
    import fcntl

    with (finished[0] / "runs/small/.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = passband("study", "run", "small.yaml", cwd=finished[0])
    assert refused.returncode == 2 and "another run is working in this folder" in refused.stderr


def test_killed_at_thirty_random_moments(finished, tmp_path):
    """kill −9 of a worker, the driver or both, while it starts, at work and while it makes the report."""
    (tmp_path / "small.yaml").write_text(STUDY)
    moments = random.Random(5)
    everything = 34 + 10 + 5 + 8
    kills = {"worker": 0, "driver": 0, "all": 0}
    runs = 0
    while sum(kills.values()) < 30:
        runs += 1
        victim = moments.choice(["worker", "worker", "driver", "all"])
        late = traces(tmp_path) >= everything
        with started(tmp_path) as run:
            # Several workers may die in one run, which goes on; a driver's death ends it.
            wanted = traces(tmp_path) + (0 if late else 1)
            while run.poll() is None and traces(tmp_path) < wanted:
                time.sleep(0.02)
            while run.poll() is None and sum(kills.values()) < 30:
                time.sleep(moments.uniform(0, 4 if late else 0.8))
                if run.poll() is not None:
                    break
                if victim == "worker" and (found := workers_of(run)):
                    with suppress(ProcessLookupError):
                        os.kill(moments.choice(found), signal.SIGKILL)
                    kills["worker"] += 1
                    victim = moments.choice(["worker", "worker", "driver", "all"])
                    continue
                (os.killpg if victim == "all" else os.kill)(run.pid, signal.SIGKILL)
                kills["all" if victim == "worker" else victim] += 1
                run.wait()
    assert min(kills.values()) > 0
    done = passband("study", "run", "small.yaml", "--workers", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = tables(finished[0])
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())
    assert not [p for p in (tmp_path / "runs").rglob(".*") if p.name != ".lock"]


def test_sigterm_ends_it_soon_and_it_goes_on(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)
    run = subprocess.Popen(
        [sys.executable, "-m", "passband.cli", "study", "run", "small.yaml", "--workers", "2"],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while traces(tmp_path) < 36:
        assert run.poll() is None
        time.sleep(0.05)
    began = time.monotonic()
    run.terminate()
    _, said = run.communicate(timeout=30)
    assert time.monotonic() - began < 20
    assert run.returncode == 143 and "ended by SIGTERM; run the same command again" in said.splitlines()[-1]
    # The standard library's resource tracker ends a moment after its parent.
    deadline = time.monotonic() + 10
    while group(run.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not group(run.pid)
    assert not [p for p in (tmp_path / "runs").rglob(".*") if p.name != ".lock"]


def test_two_drivers_at_once(tmp_path):
    """One works, the other says so and leaves it alone."""
    (tmp_path / "small.yaml").write_text(TINY)
    command = [sys.executable, "-m", "passband.cli", "study", "run", "small.yaml", "--workers", "1"]
    both = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [run.communicate()[1] for run in both]
    codes = [run.returncode for run in both]
    assert sorted(codes) == [0, 2], said
    assert "another run is working in this folder" in said[codes.index(2)]


def test_workers_end_when_their_parent_is_killed(tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)
    with started(tmp_path) as run:
        while not traces(tmp_path):
            assert run.poll() is None
            time.sleep(0.05)
        run.kill()
        run.wait()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and group(run.pid):
            time.sleep(0.2)
        assert not group(run.pid)


def test_a_dask_cluster_gives_the_same_tables(finished, tmp_path):
    (tmp_path / "small.yaml").write_text(STUDY)
    done = passband("study", "run", "small.yaml", "--executor", "dask", "--workers", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = tables(finished[0])
    assert all(expected[name].equals(table) for name, table in tables(tmp_path).items())


def test_a_plan_and_whether_the_run_kept_to_it(tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    asked = passband(
        "study", "plan", "small.yaml", "--workers", 2, "--cores", 64, "--price", 0.1, "--json", cwd=tmp_path
    )
    assert asked.returncode == 0, asked.stderr
    plan = json.loads(asked.stdout)
    assert {s: n["total"] - n["done"] for s, n in plan["cells"].items()} == {
        "waves": 11,
        "train": 3,
        "images": 3,
        "tests": 9,
    }
    assert plan["workers"] == 64 and plan["cost"] == pytest.approx(0.1 * sum(plan["core_seconds"].values()) / 3600)
    assert all(plan["core_seconds"][stage] > 0 for stage in ("waves", "train", "images", "tests"))
    assert 0 < plan["disk_bytes"] < plan["disk_free_bytes"] and plan["memory_bytes_per_worker"] > 4e8
    done = passband("study", "run", "small.yaml", "--workers", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"took 0:0\d:\d\d, and 0:0\d:\d\d were planned", done.stderr)
    again = passband("study", "plan", "small.yaml", "--workers", 1, cwd=tmp_path)
    assert again.returncode == 0 and "networks             0         3" in again.stdout, again.stdout


def test_too_little_memory_is_said_before_any_work(tmp_path):
    (tmp_path / "small.yaml").write_text(TINY)
    refused = passband("study", "run", "small.yaml", "--workers", 1, "--memory", 0.005, cwd=tmp_path)
    assert refused.returncode == 2 and len(refused.stderr.splitlines()) == 1, refused.stderr
    assert "--memory of 5 MB is less than the" in refused.stderr and "96² samples" in refused.stderr
    assert traces(tmp_path) == 0
