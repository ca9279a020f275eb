"""Files that are flipped, cut, lost, or a user's own: the same tables, or one clear line."""

import json
import random
import shutil

import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.base.identity import content_id
from passband.report.study_page import write_results
from passband.studies import cross_tests, runner
from passband.studies.cost import compare_with_plan
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.result_tables import write_tables
from support.damage import flip, kinds
from support.studies import TABLES, run, study


def copy(tiny, folder):
    shutil.copytree(tiny[1].parent, folder / "runs")
    return folder / "runs/small"


def tables(folder):
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES}


def is_like(folder, expected):
    return all(tables(folder)[name].equals(table) for name, table in expected.items())


def run_again(folder):
    """What `passband study run FOLDER` does, without a report."""
    held = StudyFolder.open(folder)
    return run(held.study, folder)


@pytest.mark.parametrize("flips", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_flipped_bits_never_change_a_table(tiny, tmp_path, flips):
    folder, moments = copy(tiny, tmp_path), random.Random(flips)
    if flips > 10:
        run(tiny[0], folder, finish=write_results)
    expected, refused = tables(folder), 0
    # Markers, manifests and descriptions first: they say what is there.
    names = sorted(kinds(folder.parent), key=lambda name: ("done.json" not in name, "zarr.json" not in name, name))
    for number in range(flips):
        name = names[number % len(names)]
        file = moments.choice(kinds(folder.parent)[name])
        bit, whole = flip(file, moments)
        try:
            run_again(folder)
        except BadInputError as fault:
            assert "\n" not in str(fault) and "small" in str(fault)
            refused += 1
            file.write_bytes(whole)
            run_again(folder)
        assert is_like(folder, expected), (file, bit)
    assert refused <= flips / 5


def changed(path, **values):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | values))


@pytest.mark.parametrize("old", [False, True], ids=["checksum", "older"])
def test_a_marker_that_was_changed_is_made_again(tiny, tmp_path, old):
    """Also in a marker of an older version, which has no checksum: the folder's name is a hash of its content."""
    folder = copy(tiny, tmp_path)
    expected, marker = tables(folder), next((folder / "cells").glob("evaluate-*/done.json"))
    content = json.loads(marker.read_text())
    assert content["checksum"] == content_id({k: v for k, v in content.items() if k != "checksum"}, 32)
    if old:
        for path in folder.glob("cells/*/done.json"):
            path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}))
        assert run_again(folder)[1].new == {"exit waves": 0, "networks": 0, "images": 0, "tests": 0}
    whole, inside = json.loads(marker.read_text()), content["content"]
    [[network, weights]] = inside["networks"]
    for wrong in (
        {"content": inside | {"revision": 3}},
        {"content": inside | {"networks": [[network, weights[:-1] + "x"]]}},
        {"content": inside | {"tested": inside["tested"][:2]}},
        {"content": {k.replace("s", "z"): v for k, v in inside.items()}},
        {"content": None},
        {"files": {}},
        {"files": []},
    ):
        marker.write_text(json.dumps(whole | wrong))
        assert run_again(folder)[1].new["tests"] == 3
        assert is_like(folder, expected)


def test_tests_that_vanish_while_the_study_runs_are_missed(tiny, tmp_path, monkeypatch):
    folder, real = copy(tiny, tmp_path), cross_tests.missing_tests
    shutil.rmtree(next((folder / "cells").glob("evaluate-*")))
    monkeypatch.setattr(runner, "missing_tests", lambda *rest: [])
    with pytest.raises(BadInputError, match="3 of 9 tests and 0 of 3 networks are missing, though no job failed.*run"):
        run_again(folder)
    monkeypatch.setattr(runner, "missing_tests", real)
    run_again(folder)
    assert is_like(folder, tables(tiny[1]))


@pytest.mark.parametrize("text", ["", "[]", "[1]", '[{"stage": "train"}]', "\udcff"])
def test_a_damaged_list_of_failures_stops_nothing(tiny, tmp_path, call, text):
    folder = copy(tiny, tmp_path)
    (folder / "failed.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    code, out, _ = call("study", "status", folder, "--json")
    assert code == 0 and json.loads(out)["failed"] == []


def test_a_damaged_plan_is_no_plan(tiny):
    for content in (None, {}, {"cells": 3}, {"cells": {"waves": 3}}, {"cells": {"waves": {"total": 1}}}, {"cells": {}}):
        planned = content and content | {"id": tiny[0].id}
        assert compare_with_plan(planned, tiny[0], {"waves": 1}, 1, 9.0) is None


def test_a_file_of_the_users_own_is_not_overwritten(tmp_path):
    config = study(tmp_path)
    folder = tmp_path / "mine"
    folder.mkdir()
    own = "# My study\n" + (tmp_path / "small.yaml").read_text()
    (folder / "study.yaml").write_text(own)
    held = StudyFolder.open(folder / "study.yaml", folder)
    assert held.study.id == config.id
    held.adopt()
    assert (folder / "study.yaml").read_text() == own
    larger = study(tmp_path, ("seeds: 1", "seeds: 2"))
    with pytest.raises(BadInputError, match="is a file of your own, with fewer conditions or seeds"):
        StudyFolder(larger, StudyPaths(folder)).adopt()
    assert (folder / "study.yaml").read_text() == own


def test_a_study_yaml_that_was_changed_is_refused_and_a_lost_one_is_written_again(tiny, tmp_path):
    folder = copy(tiny, tmp_path)
    path = folder / "study.yaml"
    whole = path.read_text()
    path.write_text(whole.replace("dose_per_angstrom2: 500", "dose_per_angstrom2: 501"))
    with pytest.raises(BadInputError, match=r"study.yaml: is not as passband wrote it; .* delete its last line"):
        StudyFolder.open(folder)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert StudyFolder.open(folder).study.id != tiny[0].id
    path.unlink()
    study(tmp_path)
    held = StudyFolder.open(tmp_path / "small.yaml", folder)
    held.adopt()
    assert path.read_text() == whole
    # Of an older version, without a checksum.
    path.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    StudyFolder.open(folder).adopt()
    assert path.read_text() == whole


def test_a_folder_cannot_be_taken_over_by_another_study(tiny, tmp_path):
    folder = copy(tiny, tmp_path)
    (folder / "study.yaml").unlink()
    other = study(tmp_path, ("seed: 3", "seed: 4"))
    with pytest.raises(BadInputError, match="is not empty and holds no study.yaml"):
        StudyFolder(other, StudyPaths(folder)).check()
    write_tables(StudyFolder(tiny[0], StudyPaths(folder)))


def test_a_study_yaml_of_another_version_is_one_line(tiny, tmp_path, call):
    """As a later version would write it: with keys and values that this one does not know, and a checksum that is right."""
    folder = copy(tiny, tmp_path)
    text = (folder / "study.yaml").read_text().partition("# checksum")[0]
    for old, new, fault in (("seeds: 1", "seeds: 1\ngain: 3", "unknown key 'gain'"), ("adam", "lion", "got 'lion'")):
        content = text.replace(old, new)
        (folder / "study.yaml").write_text(f"{content}# checksum {content_id(content, 32)}\n")
        for words in (("status", folder), ("run", folder), ("run", tmp_path / "small.yaml", "--out", folder)):
            study(tmp_path)
            code, _, error = call("study", *words)
            assert code == 2 and error.count("\n") == 1 and f"{fault}; use the version that wrote it, not this" in error


def test_jobs_and_tables_of_another_version_are_made_again(tiny, tmp_path):
    """A later version has other revisions, so other names of jobs; an earlier one had fewer columns."""
    folder = copy(tiny, tmp_path)
    for path in list(folder.glob("cells/evaluate-*/done.json")):
        content = json.loads(path.read_text())
        content["content"]["revision"] += 1
        content = {key: value for key, value in content.items() if key != "checksum"} | {"later": True}
        path.write_text(json.dumps(content | {"checksum": content_id(content, 32)}))
        path.parent.rename(path.parent.with_name(f"evaluate-{content_id(content['content'], 16)}"))
    for name in TABLES:
        table = pl.read_parquet(folder / f"{name}.parquet")
        table.drop(table.columns[-1]).write_parquet(folder / f"{name}.parquet")
    assert run_again(folder)[1].new == {"exit waves": 0, "networks": 0, "images": 0, "tests": 9}
    assert is_like(folder, tables(tiny[1])) and len(list(folder.glob("cells/evaluate-*"))) == 6
