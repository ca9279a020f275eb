"""The progress of a study from the list of its jobs is that of the study itself, and needs no science."""

import json
import random
import shutil
import subprocess
import sys

import pytest

from passband.files import jobs
from passband.studies import job_list
from passband.studies.folder import StudyFolder
from passband.studies.job_list import JobList
from passband.studies.paths import StudyPaths
from support.damage import flip
from support.studies import SETS

STATUS = """
import sys
sys.argv = ["passband", "study", "status", sys.argv[1], "--json"]
from passband.cli.main import main
try:
    main()
finally:
    print([m for m in ("torch", "numpy", "scipy", "polars", "zarr") if m in sys.modules], file=sys.stderr)
"""


@pytest.fixture
def paths(tiny, tmp_path, monkeypatch):
    """A copy of a finished study whose files count as old enough to be known by their times."""
    monkeypatch.setattr(jobs, "_TICK_NS", 0)
    shutil.copytree(tiny[1].parent, tmp_path / "runs")
    return StudyPaths(tmp_path / "runs/small")


def told(paths):
    """The progress by the list, which must be as the study tells it."""
    quick = JobList.noted(paths).counts(paths)
    assert quick is None or quick == StudyFolder.open(paths.folder).counts()
    return quick and {stage: n["total"] - n["done"] for stage, n in quick.items()}


def test_the_list_tells_what_the_study_tells(paths, monkeypatch):
    StudyFolder.open(paths.folder).counts()
    assert told(paths) == {"waves": 0, "train": 0, "images": 0, "tests": 0}
    waves = next((paths.root / "exit_waves").iterdir())
    flip(next(paths.jobs.glob("images-*/samples.npz")), random.Random(0))
    assert told(paths) == {"waves": 0, "train": 0, "images": 1, "tests": 0}
    shutil.rmtree(next(paths.jobs.glob("train-*")))
    assert told(paths) == {"waves": 0, "train": 1, "images": 1, "tests": 3}
    (waves / "manifest/000004.json").unlink()
    assert told(paths) == {"waves": 1, "train": 1, "images": 1, "tests": 3}
    # A wave that changed has to be read, which takes the study itself.
    chunk = waves / "waves.zarr/coefficients/c/2/0/0"
    chunk.write_bytes(chunk.read_bytes())
    assert told(paths) is None
    assert StudyFolder.open(paths.folder).todo()["waves"] == 1
    assert told(paths)["waves"] == 1
    # Another version has other names of jobs.
    with monkeypatch.context() as patch:
        patch.setitem(job_list.REVISIONS, "train", 99)
        assert JobList.noted(paths) is None
    paths.study.write_text("name: other")
    assert JobList.noted(paths) is None


def test_a_study_that_grows_gets_another_list(tmp_path, tiny, paths):
    StudyFolder.open(paths.folder).counts()
    larger = tiny[0].model_copy(update={"seeds": 2})
    # Asking what a larger study would lack does not change the list of the folder's own.
    assert StudyFolder(larger, paths).counts()["train"] == {"done": 3, "total": 6}
    assert told(paths)["train"] == 0 and len(JobList.noted(paths).train) == 3


def test_status_of_sets_imports_no_science(tmp_path):
    (tmp_path / "runs/small").mkdir(parents=True)
    (tmp_path / "runs/small/study.yaml").write_text(SETS)
    StudyFolder.open(tmp_path / "runs/small").counts()
    done = subprocess.run(
        [sys.executable, "-c", STATUS, tmp_path / "runs/small"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "[]", done.stderr
    assert json.loads(done.stdout)["cells"]["train"] == {"done": 0, "total": 5}
