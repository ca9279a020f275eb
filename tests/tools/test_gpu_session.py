"""The session on a GPU that is at hand for minutes: what it measures and how it ends, tried on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.files.atomic import read_json
from support.lacking import BLOCKED
from support.studies import study, wait_for
from tools.gpu_session import ROOT, cases, checks, pack
from tools.gpu_session.cases import SMALL, Size

TOOL = ROOT / "tools/gpu_session"


@pytest.fixture
def session(monkeypatch):
    """The module of the steps, which uses the benchmarks."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    from tools.gpu_session import session

    return session


@pytest.fixture(scope="module")
def reference():
    return cases.reference(SMALL)


def environment(tmp_path, **more):
    """An environment in which Python lacks what a GPU machine lacks, also in processes that are started from it."""
    (tmp_path / "lacking").mkdir(exist_ok=True)
    (tmp_path / "lacking/sitecustomize.py").write_text(BLOCKED)
    return os.environ | {"PYTHONPATH": str(tmp_path / "lacking"), "CUDA_VISIBLE_DEVICES": ""} | more


def tool(*words, cwd, env=None, timeout=450):
    return subprocess.run(
        [sys.executable, TOOL, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=timeout, env=env
    )


@pytest.mark.slow
def test_a_session_that_was_killed_goes_on_and_its_tables_make_the_report(call, tiny, tmp_path):
    study(tmp_path)
    packed = tool("pack", "--small", "--no-wheels", "--out", "pack", cwd=tmp_path)
    assert packed.returncode == 0, packed.stderr
    words = ["run", "small.yaml", "--pack", "pack", "--out", "out", "--work", "there", "--group", "3"]
    words += ["--device", "cpu", "--cores", "1", "--seconds", "400"]
    # Its own work folder, so that the tables below need exit waves that were made here.
    env, report = environment(tmp_path), tmp_path / "out/session.json"
    first = subprocess.Popen(
        [sys.executable, TOOL, *words], cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, start_new_session=True
    )

    def done():
        return [n for n, step in ((read_json(report) or {}).get("steps", {})).items() if step["state"] == "done"]

    try:
        wait_for(lambda: len(done()) >= 2, 300)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    before = json.loads(report.read_text())["steps"]
    began = time.monotonic()
    again = tool(*words, cwd=tmp_path, env=env)
    assert again.returncode == 0, again.stdout + again.stderr
    assert time.monotonic() - began < 400
    content = json.loads(report.read_text())
    assert all(step["state"] == "done" for step in content["steps"].values())
    finished = [n for n, step in before.items() if step["state"] == "done"]
    assert len(finished) >= 2 and all(content["steps"][n] == before[n] for n in finished)
    assert content["device"].endswith("CPU") and content["versions"]["torch"]
    # Three rows of the benchmark, and three of the study.
    assert len(content["rows"]) == 6 and all(row["ours"] > 0 for row in content["rows"])
    assert all(row["yardstick"] > 0 for row in content["rows"][:3])
    assert (content["studies"]["small"]["networks"], content["studies"]["small"]["tests"]) == (3, 9)

    merged = tool("merge", "out", "--work", "back", "--results", "results", cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr
    [machine] = (tmp_path / "results").glob("*.json")
    assert [row["name"] for row in read_json(machine)["rows"]] == [row["name"] for row in content["rows"]]
    ours, theirs = (pl.read_parquet(folder / "scores.parquet") for folder in (tmp_path / "back/small", tiny[1]))
    assert ours.columns == theirs.columns and ours.dtypes == theirs.dtypes
    names = ["train_condition", "test_condition", "seed", "n_images", "particles"]
    assert ours.select(names).equals(theirs.select(names))
    # Networks of a group differ from those trained alone by rounding.
    assert (ours["loss"] - theirs["loss"]).abs().max() < 0.02
    ours, theirs = (pl.read_parquet(folder / "training.parquet") for folder in (tmp_path / "back/small", tiny[1]))
    assert ours.select("condition", "seed", "epoch").equals(theirs.select("condition", "seed", "epoch"))
    assert call("study", "report", tmp_path / "back/small")[0] == 0
    assert (tmp_path / "back/small/report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.yaml", "--device", "cpu"], "absent.yaml"),
        ([], "use --device cpu"),
        (["--device", "cpu", "--pack", "nowhere"], "pack --out nowhere"),
        (["--device", "cpu", "--pack", "other"], "not made by this code"),
    ],
)
def test_bad_input_is_told_before_any_work(tmp_path, words, message):
    (tmp_path / "pack").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/pack.json").write_text(json.dumps({"code": "another"}))
    np.savez(tmp_path / "pack/reference.npz", size=np.array(SMALL))
    (tmp_path / "pack/pack.json").write_text(json.dumps({"code": pack.code()}))
    done = tool("run", "--pack", "pack", "--out", "out", *words, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_fits_the_eight_minutes(session):
    from accelerator import Accelerator

    text = session.plan(Accelerator("cuda"), 480)
    seconds = {line[:14].strip(): float(line[14:].split()[0]) for line in text.splitlines()}
    together = seconds.pop("together")
    assert together == sum(seconds.values()) <= 480
    assert seconds["study"] == 240
    names = {f"check {name}" for name in checks.CHECKS} | {f"row {name}" for name in session.ROWS}
    assert seconds.keys() == names | {"start", "arrangements", "study", "end"}


def test_a_step_that_fails_or_takes_too_long_is_recorded_and_the_next_goes_on(session, tmp_path):
    from accelerator import Accelerator

    report = session.Report(tmp_path / "session.json", Accelerator("cpu"))
    report.step("broken", 10, lambda: {}["absent"])
    report.step("endless", 1.0, lambda: time.sleep(30))
    report.step("late", 0.0, dict)
    report.step("good", 10, lambda: {"agrees": True, "value": 3})
    steps = json.loads((tmp_path / "session.json").read_text())["steps"]
    assert {n: s["state"] for n, s in steps.items()} == {
        "broken": "failed", "endless": "cut", "late": "cut", "good": "done",
    }  # fmt: skip
    assert "KeyError: 'absent'" in steps["broken"]["traceback"]
    assert steps["endless"]["seconds"] < 5 and not report.agrees
    # What is done is not done again, what is not, is.
    later, ran = session.Report(tmp_path / "session.json", Accelerator("cpu")), []
    for name in ("broken", "endless", "late", "good"):
        later.step(name, 10, lambda name=name: ran.append(name) or {})
    assert ran == ["broken", "endless", "late"] and later.agrees
    later.step("differs", 10, lambda: {"agrees": False})
    assert not later.agrees


def test_too_large_a_pack_is_refused_and_what_is_large_is_named():
    pack.check({"small.whl": 20_000_000, "the repository": 39_000_000})
    with pytest.raises(BadInputError, match=r"67\.0 MB, more than 60; .*large\.whl 40\.0, the repository 27\.0"):
        pack.check({"large.whl": 40_000_000, "the repository": 27_000_000})


def test_the_repository_leaves_room_for_the_pack():
    # Wheels and reference have 25 MB.
    assert pack.repository_bytes() < pack.MOST - 25_000_000


@pytest.mark.parametrize("name", ["waves", "images", "tests"])
def test_what_a_cpu_makes_twice_agrees_and_a_wrong_result_does_not(reference, name):
    assert checks.CHECKS[name]("cpu", reference, SMALL)["agrees"]
    key = {"waves": "waves", "images": "image, twisted", "tests": "tests"}[name]
    wrong = reference[key].copy()
    if name == "tests":
        wrong[1, 0] += [50, 0, -50, 0]
    else:
        # 1e-3 of what is scattered, or of the contrast: a band limit or an envelope that is a little off.
        wrong = wrong + 1e-3 * (wrong - (wrong.mean() if name == "images" else 0)) * (
            np.abs(wrong) < 0.9 if name == "waves" else 1
        )
    assert not checks.CHECKS[name]("cpu", reference | {key: wrong}, SMALL)["agrees"]


def test_noise_agrees():
    assert checks.noise("cpu", {}, Size(0, 0, 0, 32))["agrees"]


@pytest.mark.parametrize("fault", ["none", "mean", "variance", "gaussian", "neighbours", "same noise"])
def test_counts_that_are_not_poisson_are_found(fault):
    rng, mean = np.random.default_rng(0), 4.0
    counts = rng.poisson(mean, (32, 64, 64)).astype(float)
    if fault == "mean":
        counts = rng.poisson(mean * 1.02, counts.shape).astype(float)
    elif fault == "variance":
        # Pairs of electrons: the mean is right.
        counts = 2.0 * rng.poisson(mean / 2, counts.shape)
    elif fault == "gaussian":
        counts = rng.normal(mean, mean**0.5, counts.shape).round().clip(0)
    elif fault == "neighbours":
        counts[:, 1::2] = counts[:, ::2]
    elif fault == "same noise":
        counts[1::2] = counts[::2]
    found = checks.count_statistics(counts, mean, 0.0)
    p = found.pop("p")
    assert (max(map(abs, found.values())) <= checks.SIGMAS and p >= checks.LEAST_P) == (fault == "none")
    if fault in ("neighbours", "same noise"):
        assert abs(found[{"neighbours": "neighbours", "same noise": "images"}[fault]]) > checks.SIGMAS


def test_losses_of_a_fleet_are_compared_with_the_spread_of_seeds():
    rng = np.random.default_rng(1)
    centres = np.array([0.15, 0.1, 0.12, 0.2])[:, None, None]
    known, made = (centres + 0.015 * rng.normal(size=(4, 8, 2)) for _ in range(2))
    assert checks.fleet_statistics(made, known)["agrees"]
    # All an eighth worse: each loss alone would pass.
    worse = checks.fleet_statistics(made * 1.12, known)
    assert not worse["agrees"] and worse["outliers"] == 0
    # One network that has not learnt.
    made[2, 3] = 0.7
    assert checks.fleet_statistics(made, known)["outliers"] == 1


def test_scores_come_back_whole(tmp_path):
    from tools.gpu_session.fleet import Results

    given = Results("name: x\n", ["tp", "fp"])
    for seed in range(2):
        given.domain.append(3)
        given.seed.append(seed)
        given.history.append(np.full((4, 2), 0.5 + seed))
        given.loss.append(np.array([0.1, 0.2, seed]))
        given.sums.append(np.arange(6.0).reshape(3, 2))
        given.seconds.append(np.array([1.0, 2.0]))
    given.write(tmp_path / "x.npz")
    back = Results.read(tmp_path / "x.npz")
    assert back.study == given.study and back.columns == given.columns and back.seed == [0, 1]
    assert all(
        np.array_equal(getattr(back, n), getattr(given, n)) for n in ("domain", "history", "loss", "sums", "seconds")
    )
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


class _Planned:
    """A study of made-up networks that take 2 s each."""

    def __init__(self, domains, seeds):
        self.trainings, self.seeds, self.tests, self.network = [None] * domains, seeds, ["one"], None
        self.training = SimpleNamespace(epochs=1, crop_pixels=64)
        self.split = SimpleNamespace(train=3, validation=1)


@pytest.mark.parametrize(
    ("domains", "seeds", "group", "sizes"),
    [(25, 11, 128, [25, 125, 125]), (200, 1, 128, [32, 128, 40]), (3, 1, 2, [1, 2]), (4, 30, 128, [32, 88])],
)
def test_groups_hold_whole_seeds(monkeypatch, tmp_path, domains, seeds, group, sizes):
    planned, _ = _trained(monkeypatch, tmp_path, domains, seeds, group, 10_000)
    assert planned == sizes


def test_no_group_begins_that_would_not_end_in_time_and_the_next_session_goes_on(monkeypatch, tmp_path):
    # 50 s, then 250 s each; at 1.1 times 2 s, five more seeds fit into the last 280 s, and none into 30 s.
    sizes, facts = _trained(monkeypatch, tmp_path, 25, 1000, 128, 50 + 250 + 280)
    assert sizes == [25, 125, 125] and facts["seconds"] == 550 and not facts["all"]
    # Less than a group is what is left: three seeds in 170 s.
    again, later = _trained(monkeypatch, tmp_path, 25, 1000, 128, 50 + 170)
    assert again == [25, 75] and (later["networks_before"], later["networks"]) == (275, 100)


def _trained(monkeypatch, folder, domains, seeds, group, seconds):
    """Sizes of the groups that were trained, and what the run says, with made-up training."""
    from tools.gpu_session import fleet

    sizes, now = [], [0.0]

    def train(study, paths, chosen, results, *others):
        sizes.append(len(chosen))
        assert not set(chosen) & set(zip(results.domain, results.seed, strict=True))
        now[0] += 2.0 * len(chosen)
        for domain, seed in chosen:
            results.domain.append(domain)
            results.seed.append(seed)
            for values in (results.history, results.loss, results.sums, results.seconds):
                values.append(np.ones(2))

    monkeypatch.setattr(fleet, "_group", train)
    monkeypatch.setattr(fleet, "_Tests", lambda *_: None)
    monkeypatch.setattr(fleet, "fastest", lambda *_: "grouped")
    monkeypatch.setattr(fleet, "dump_study", lambda study: "name: planned\n")
    monkeypatch.setattr(fleet, "time", SimpleNamespace(monotonic=lambda: now[0]))
    facts = fleet.run(_Planned(domains, seeds), None, folder / "x.npz", seconds, group)
    return sizes, facts
