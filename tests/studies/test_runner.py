"""Runs of a very small study in this process: growth, failures, damage, clocks, disks."""

import json
import math
import os
import pickle
import re
import shutil
import sys
import time
from collections import Counter
from itertools import cycle

import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.base.identity import content_id, seed_from
from passband.base.progress import TerminalProgress
from passband.conditions.sets import ConditionGrid
from passband.execution.base import Serial
from passband.files import jobs as job_folders
from passband.files import yaml_config
from passband.files.jobs import REVISIONS, marker
from passband.learning import Segmentation, count_pixels, predict
from passband.micrographs.agreement import agreement
from passband.report.study_page import write_results
from passband.simulation.imaging import normalize
from passband.simulation.wave_store import WaveSet
from passband.studies import cross_tests, jobs, runner, wave_jobs
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.result_tables import write_tables
from support.studies import SCORE_COLUMNS, TABLES, run, study


def chunk(folder):
    return next(p for p in (folder.parent / "exit_waves").rglob("coefficients/c/*/0/0") if p.is_file())


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def tables(folder):
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}


def copy(tiny, folder):
    shutil.copytree(tiny[1].parent, folder / "runs")
    return folder / "runs/small"


WIDER = (("[-100, 0, 100]", "[-100, -50, 0, 100]"), ("seeds: 1", "seeds: 2"))


def test_a_study_grows_by_what_is_new(tiny, tmp_path):
    folder = copy(tiny, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("done.json")}
    larger = study(tmp_path, *WIDER)
    StudyFolder(larger, StudyPaths(folder)).check()
    _, progress = run(larger, folder)
    assert progress.new == {"exit waves": 0, "networks": 5, "images": 1, "tests": 8 * 4 - 9}
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    run(larger, tmp_path / "fresh/runs/small")
    grown, fresh = tables(folder), tables(tmp_path / "fresh/runs/small")
    assert all(grown[name].equals(fresh[name]) for name in TABLES)
    with pytest.raises(BadInputError, match="nor is this one the same with more conditions or seeds"):
        StudyFolder(tiny[0], StudyPaths(folder)).check()


def test_any_division_into_jobs_gives_the_same_tables(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(cross_tests, "_NETWORKS", 2)
    monkeypatch.setattr(cross_tests, "_JOBS", 1)
    monkeypatch.setattr(cross_tests, "_TESTS", 1)
    folder = copy(tiny, tmp_path)
    for job in (folder / "cells").glob("evaluate-*"):
        shutil.rmtree(job)
    _, progress = run(tiny[0], folder)
    assert progress.new["tests"] == 9 and len(list((folder / "cells").glob("evaluate-*"))) == 6
    assert all(tables(folder)[name].equals(table) for name, table in tables(tiny[1]).items())
    # Too many counts for one table stay where they are.
    monkeypatch.setattr(cross_tests, "_COUNTS_GATHERED", 26)
    write_tables(StudyFolder(tiny[0], StudyPaths(folder)))
    assert not (folder / "counts.parquet").exists()
    assert pl.read_parquet(folder / "scores.parquet").equals(tables(tiny[1])["scores"])


def test_scores_are_those_of_each_prediction_against_its_truth(tiny):
    """All of a study's way to a score, against the comparison of one image after the other."""
    plan = StudyFolder(tiny[0], StudyPaths(tiny[1]))
    job, test = plan.training_jobs[0], tiny[0].tests[1]
    counts, masks = jobs.test_images(tiny[0], plan.paths, test)
    called = (predict(job.network(), normalize(counts)[:, None]) > 0)[:, 0].numpy()
    pixel = test.condition.pixel_size_angstrom
    each = [agreement(c, t, pixel) for c, t in zip(called, masks[:, 0].numpy() > 0, strict=True)]
    own = (pl.col("train_condition") == job.domain.id) & (pl.col("test_condition") == test.id)
    [row] = pl.read_parquet(tiny[1] / "scores.parquet").filter(own).to_dicts()
    for name in ("particles", "found", "missed", "invented"):
        assert row[name] == sum(getattr(one, name) for one in each)
    assert row["particles"] == len(each)


def test_specimens_without_a_film_have_no_texture(tiny, monkeypatch):
    place = tiny[0], StudyPaths(tiny[1])
    assert wave_jobs.textures(*place) is not None
    bare = [
        WaveSet(w.folder, w.recipe.model_copy(update={"substrate": None}), w.config)
        for w in wave_jobs.wave_sets(*place)
    ]
    monkeypatch.setattr(wave_jobs, "wave_sets", lambda study, paths: bare)
    assert wave_jobs.textures(*place) is None


def test_tests_from_before_particles_were_counted_stay(tiny, tmp_path, monkeypatch):
    folder = copy(tiny, tmp_path)
    made = sorted((folder / "cells").glob("evaluate-*"))
    for job in made:
        shutil.rmtree(job)
    with monkeypatch.context() as former:
        former.setattr(Segmentation, "score", lambda task, outputs, targets, truth: count_pixels(outputs, targets))
        run(tiny[0], folder)
    old, new = tables(folder)["scores"], tables(tiny[1])["scores"]
    assert old.schema == new.schema and old["surface_dice"].null_count() == len(old)
    assert old.select(SCORE_COLUMNS[:10]).equals(new.select(SCORE_COLUMNS[:10]))
    assert len(tables(folder)["counts"]) == len(tables(tiny[1])["counts"])
    # Nothing is made again, until a user deletes the tests.
    assert run(tiny[0], folder)[1].new["tests"] == 0
    shutil.rmtree(made[0])
    assert run(tiny[0], folder)[1].new["tests"] == 3
    mixed = tables(folder)["scores"]
    known = mixed["particles"].is_not_null()
    assert known.sum() == 3 and mixed.filter(known).equals(new.filter(known))


def test_a_network_trained_again_is_tested_again_and_no_other(tiny, tmp_path):
    folder = copy(tiny, tmp_path)
    plan = StudyFolder(tiny[0], StudyPaths(folder))
    flip(plan.training_jobs[1].folder / "weights.safetensors")
    assert plan.counts()["tests"] == {"done": 6, "total": 9}
    _, progress = run(tiny[0], folder)
    # Trained again it is the same to the last bit, so its old tests count again.
    assert progress.new["networks"] == 1 and progress.new["tests"] == 0
    assert all(tables(folder)[name].equals(table) for name, table in tables(tiny[1]).items())


@pytest.mark.slow
def test_a_network_that_diverges_fails_alone_with_its_reason(tiny, tmp_path, monkeypatch):
    config = study(tmp_path)
    bad = config.test_conditions[2]
    real = jobs.train

    def train(network, training, train_images, *rest, **options):
        if train_images.condition.id == bad.id:
            raise FloatingPointError("the loss is nan in epoch 1")
        return real(network, training, train_images, *rest, **options)

    monkeypatch.setattr(jobs, "train", train)
    folder = tmp_path / "runs/small"
    failed, progress = run(config, folder, finish=write_results)
    assert [(f["stage"], f["reason"], f["tries"]) for f in failed] == [("train", "the loss is nan in epoch 1", 1)]
    assert "defocus" in failed[0]["what"] and any("failed: network" in line for line in progress.said)
    assert json.loads((folder / "failed.json").read_text()) == failed
    assert set(tables(folder)["scores"]["train_condition"]) == {c.id for c in config.test_conditions[:2]}
    assert "Failed, and missing below" in (folder / "report.html").read_text()
    plan = StudyFolder(config, StudyPaths(folder))
    plan.require_finished()
    monkeypatch.setattr(jobs, "train", real)
    assert run(config, folder)[0] == []
    assert all(tables(folder)[name].equals(table) for name, table in tables(tiny[1]).items())


def test_a_group_makes_the_same_study(tiny, tmp_path, monkeypatch):
    """Three networks in groups of two; the second one's weights are spoilt at first, and trained alone it gives the reason."""
    module = sys.modules["passband.learning.train"]
    real, config, folder = module._initial, study(tmp_path), tmp_path / "runs/small"
    spoilt = seed_from("train", config.test_conditions[1].id, 0)

    def initial(network, seed):
        return {k: v * math.nan if seed == spoilt else v for k, v in real(network, seed).items()}

    monkeypatch.setattr(module, "_initial", initial)
    failed, _ = run(config, folder, group=2)
    assert [f["stage"] for f in failed] == ["train"] and "the loss is nan in epoch 1" in failed[0]["reason"]
    monkeypatch.setattr(module, "_initial", real)
    assert run(config, folder, group=2)[0] == []
    cards = [
        json.loads((c.folder / "card.json").read_text()) for c in StudyFolder(config, StudyPaths(folder)).training_jobs
    ]
    assert [card["trained"]["fleet"] for card in cards] == [2, 1, 1]
    for name, table in tables(tiny[1]).items():
        ours = tables(folder)[name]
        assert ours.columns == table.columns and len(ours) == len(table)
        if name in ("scores", "training"):
            column = "loss" if name == "scores" else "train_loss"
            assert ours[column].to_list() == pytest.approx(table[column].to_list(), rel=1e-3)
    # To a run without groups it is finished.
    assert run(config, folder)[1].new == {"exit waves": 0, "networks": 0, "images": 0, "tests": 0}


def test_predictions_scored_in_threads_give_the_same_tables(tiny, tmp_path, monkeypatch):
    config, paths = tiny[0], StudyPaths(tiny[1])
    networks = tuple(StudyFolder(config, paths).training_jobs)
    job = cross_tests.TestJob(config, paths, networks, tuple(str(n.weights_digest()) for n in networks), (0, 2))
    for threads in (1, 3):
        monkeypatch.setitem(cross_tests._SCORERS, "cpu", threads)
        (tmp_path / str(threads)).mkdir()
        job.make(tmp_path / str(threads), lambda units: None)
    alone, beside = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("1", "3"))
    assert alone["table.parquet"] == beside["table.parquet"] and alone.keys() == beside.keys()


def test_if_every_network_fails_it_says_why(tmp_path, monkeypatch):
    config = study(tmp_path)

    def train(*_, **__):
        raise FloatingPointError("the loss is nan in epoch 1")

    monkeypatch.setattr(jobs, "train", train)
    with pytest.raises(BadInputError, match=r"no network was trained and tested \(the loss is nan in epoch 1\)"):
        run(config, tmp_path / "runs/small")


@pytest.mark.parametrize("hurt", [lambda p: p.unlink(), lambda p: p.write_bytes(p.read_bytes()[:-9]), flip])
def test_missing_truncated_and_flipped_files_are_made_again(tiny, tmp_path, hurt):
    folder = copy(tiny, tmp_path)
    hurt(chunk(folder))
    hurt(next((folder / "cells").glob("evaluate-*")) / "table.parquet")
    hurt(next((folder / "cells").glob("images-*")) / "spectra.npy")
    _, progress = run(tiny[0], folder)
    assert progress.new["exit waves"] == 1 and progress.new["images"] == 1 and progress.new["tests"] == 3
    assert all(tables(folder)[name].equals(table) for name, table in tables(tiny[1]).items())


def test_clock_jumps_change_nothing(tiny, tmp_path, monkeypatch, capsys):
    """By days to and fro while it runs, and files of tomorrow and of yesterday before it runs again."""
    config, folder, day, real, jumps = study(tmp_path), tmp_path / "runs/small", 86400, time.time, cycle((1, -1, 0))
    monkeypatch.setattr(time, "time", lambda: real() + day * next(jumps))
    with TerminalProgress() as progress:
        runner.run(config, folder, Serial(), progress, finish=write_tables)
    said = capsys.readouterr().err
    left = [line for line in said.splitlines() if "left" in line]
    assert "networks: 3 of 3 in 0:00:" in said and all(re.search("elapsed, about 0:0", line) for line in left), said
    for path in (tmp_path / "runs").rglob("*"):
        os.utime(path, times=(real(), real() + day * next(jumps)))
    assert run(config, folder)[1].new == {"exit waves": 0, "networks": 0, "images": 0, "tests": 0}
    assert all(tables(folder)[n].equals(t) for n, t in tables(tiny[1]).items())


def test_a_full_disk_stops_it_in_one_line_and_it_goes_on(tiny, tmp_path, monkeypatch):
    import errno

    from passband.files import atomic

    config, real, calls = study(tmp_path), atomic.sync, iter(range(1000))

    def sync(path):
        if next(calls) > 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path)

    monkeypatch.setattr(atomic, "sync", sync)
    with pytest.raises(BadInputError, match=r"the disk is full .* finished work is kept"):
        run(config, tmp_path / "runs/small")
    monkeypatch.setattr(atomic, "sync", real)
    _, progress = run(config, tmp_path / "runs/small")
    assert progress.new["exit waves"] < 11
    assert all(tables(tmp_path / "runs/small")[n].equals(t) for n, t in tables(tiny[1]).items())


def counted(monkeypatch, owner, name):
    """Calls of a function from now on, by their first argument."""
    real, calls = getattr(owner, name), []

    def count(first, *rest, **options):
        calls.append(first)
        return real(first, *rest, **options)

    monkeypatch.setattr(owner, name, count)
    return calls


def test_a_second_run_reads_the_study_once_and_builds_its_conditions_once(tiny, tmp_path, monkeypatch):
    folder = copy(tiny, tmp_path)
    study(tmp_path)
    read = counted(monkeypatch, yaml_config, "read_yaml")
    built = counted(monkeypatch, ConditionGrid, "_build")
    held = StudyFolder.open(tmp_path / "small.yaml", folder)
    _, progress = run(held.study, folder)
    assert progress.new == {"exit waves": 0, "networks": 0, "images": 0, "tests": 0}
    assert read == [tmp_path / "small.yaml"] and len(built) == 1
    study(tmp_path, *WIDER)
    del read[:]
    held = StudyFolder.open(tmp_path / "small.yaml", folder)
    held.check()
    held.adopt()
    assert read == [tmp_path / "small.yaml", folder / "study.yaml"]
    assert StudyFolder.open(folder).study.seeds == 2


@pytest.mark.slow
def test_predictions_are_stored_when_networks_are_tested_and_made_when_they_are_not(tiny, tmp_path, monkeypatch):
    config, folder = tiny[0], copy(tiny, tmp_path / "stored")
    held = StudyFolder(config, StudyPaths(folder))
    image = held.image_jobs[2].sample()["image"]
    loaded = counted(monkeypatch, jobs.TrainingJob, "network")
    stored = [held.coverage().prediction(i, config.tests[2], image) for i in range(3)]
    assert loaded == [] and stored[0].shape == image.shape and stored[0].dtype == bool
    # As tests were stored before there were predictions.
    monkeypatch.setattr(cross_tests, "shown_tests", lambda study: [])
    former = copy(tiny, tmp_path)
    for job in (former / "cells").glob("evaluate-*"):
        shutil.rmtree(job)
    run(config, former, finish=write_results)
    write_results(held)
    assert not list(former.rglob("predictions.npz"))
    del loaded[:]
    without = StudyFolder(config, StudyPaths(former)).coverage()
    made = [without.prediction(i, config.tests[2], image) for i in range(3)]
    assert len(loaded) == 3 and all((a == b).all() for a, b in zip(stored, made, strict=True))
    assert any(mask.any() for mask in made)
    sheets = [place / "figures" / "image_sheet.png" for place in (folder, former)]
    assert sheets[0].read_bytes() == sheets[1].read_bytes()


def test_a_job_is_named_by_its_kind_and_content(tiny):
    config, folder = tiny
    held = StudyFolder(config, StudyPaths(folder))
    for job in (*held.training_jobs, *held.image_jobs):
        assert job.folder == folder / "cells" / f"{job.kind}-{content_id(job.content, 16)}" and job.is_finished()
        assert marker(job.folder)["content"] == json.loads(json.dumps(job.content))
    assert {path.name.split("-")[0] for path in (folder / "cells").iterdir()} == {"train", "images", "evaluate"}
    assert {"waves", "train", "images", "evaluate", "score"} <= set(REVISIONS)


def test_jobs_travel_light_and_share_their_study(tmp_path):
    config = study(
        tmp_path, ("vary: {defocus_angstrom: [-100, 0, 100]}", "draw: {C12: {uniform: [0, 90]}}\n  count: 200")
    )
    first, last = (pickle.dumps(StudyFolder(config, StudyPaths(tmp_path)).training_jobs[i]) for i in (0, -1))
    assert max(len(first), len(last)) < 25_000 < len(pickle.dumps(config.tests))
    one, other = pickle.loads(first), pickle.loads(last)
    assert one.study is other.study and one.study == config and one.study.tests == config.tests
    assert one.folder != other.folder == StudyFolder(config, StudyPaths(tmp_path)).training_jobs[-1].folder


def test_a_finished_study_is_read_once_when_it_is_run_again(tiny, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "small"
    shutil.copytree(tiny[1].parent, folder.parent)
    time.sleep(0.2)
    read, peek = [], job_folders.peek
    monkeypatch.setattr(job_folders, "peek", lambda folder: read.append(folder.name) or peek(folder))
    assert run(tiny[0], folder, finish=lambda held: None)[1].new == dict.fromkeys(
        ("exit waves", "networks", "images", "tests"), 0
    )
    # Once for the content, and once where the checksums are verified.
    assert set(Counter(read).values()) == {2}
    read.clear()
    assert all(n == 0 for n in StudyFolder.open(folder).todo().values())
    assert set(Counter(read).values()) == {1} and len(read) == len(list((folder / "cells").iterdir()))
