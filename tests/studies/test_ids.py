"""Ids of work that was finished before: a change that alters one makes every user's finished work be done again."""

import json
from pathlib import Path

import pytest

from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.study import load_study
from passband.studies.wave_jobs import wave_sets

ROOT = Path(__file__).parents[2]
TABLES = ROOT / "docs" / "results" / "tables"


def test_ids_of_the_demo_are_those_of_version_0_1():
    study = load_study(ROOT / "studies" / "defocus.yaml")
    plan = StudyFolder(study, StudyPaths(Path("runs/defocus").absolute()))
    assert study.id == "7d899dbaa695"
    assert [plan.training_jobs[i].folder.name for i in (0, 1, -1)] == [
        "train-77178548c53ecf13",
        "train-8b90de68652883dc",
        "train-524a0b0b524ce864",
    ]
    assert [plan.image_jobs[i].folder.name for i in (0, -1)] == [
        "images-e2ea30a3d291ee2a",
        "images-c737de934e9cd0f9",
    ]
    assert [waves.folder.name for waves in wave_sets(plan.study, plan.paths)] == ["bdf2c8a017f1"]


@pytest.mark.parametrize("name", sorted(p.parent.name for p in TABLES.glob("*/analysis.json")))
def test_ids_of_the_committed_studies_are_those_that_they_ran_with(name, tmp_path):
    study = load_study(TABLES / name / "study.yaml")
    said = json.loads((TABLES / name / "analysis.json").read_text(encoding="utf-8"))
    assert study.id == said["study_id"]
    plan = StudyFolder(study, StudyPaths(tmp_path / "runs" / name))
    assert {waves.folder.name for waves in wave_sets(study, plan.paths)} == set(said["provenance"]["waves"]["ids"])
