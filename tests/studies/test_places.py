"""Places that fail: disks that are full, folders of other users, of other versions, or in use."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from support import small_disk
from support.studies import TABLES

TESTS = Path(__file__).parent.parent
PATHS = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.slow  # By default, test_a_full_disk_stops_it_in_one_line_and_it_goes_on raises the same error.
@pytest.mark.parametrize("executor", ["serial", "processes"])
def test_a_disk_that_is_full_at_every_stage(tiny, tmp_path, executor):
    alone = ["unshare", "--map-root-user", "--mount"]
    if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("mounts need a namespace of their own, which this system does not give")
    (tmp_path / "disk").mkdir()
    done = subprocess.run(
        [*alone, sys.executable, "-m", "support.small_disk", tmp_path / "disk", executor],
        env=PATHS, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(small_disk.moments(executor))
    for line in lines:
        assert "the disk is full (0 MB free); free some space and run the same command again" in line
    for name in TABLES:
        assert pl.read_parquet(tmp_path / f"tables/{name}.parquet").equals(pl.read_parquet(tiny[1] / f"{name}.parquet"))


@pytest.fixture
def without_rights(tmp_path):
    """Run the command line where the files belong to another user: by root without the right to pass over permissions."""
    alone = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search,-fowner", "--inh-caps", "-all"]
    if os.geteuid() or subprocess.run([*alone, "true"], check=False, capture_output=True).returncode:
        pytest.skip("only root can have files of another user")

    def run(*commands):
        """Return code and stderr of each, all by one process."""
        code = "import json, sys; from support.shell import run_here; print(json.dumps([run_here(*w) for w in json.loads(sys.argv[1])]))"
        words = [*alone, sys.executable, "-c", code, json.dumps(commands)]
        models = {"PASSBAND_MODELS": str(tmp_path / "results")}
        done = subprocess.run(words, env=PATHS | models, cwd=tmp_path, capture_output=True, text=True, check=True)
        return [(code, error) for code, _, error in json.loads(done.stdout)]

    return run


@pytest.mark.slow  # By default, test_no_fault_ends_with_1 and test_place_that_cannot_be_written raise the same errors.
def test_folders_of_another_user(tiny, tmp_path, without_rights):
    """That may be read and not written, and that may not even be read."""
    image, model = tmp_path / "plain.png", tmp_path / "model.zip"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (131, 131), dtype=np.uint8)).save(image)
    model.write_bytes(b"PK")
    for name in ("read", "jobs", "waves", "configuration", "folder"):
        shutil.copytree(tiny[1].parent, tmp_path / name)
    (tmp_path / "results").mkdir()
    shutil.copy(image, tmp_path / "image.png")
    shutil.copy(image, tmp_path / "private.png")
    for path in (
        "jobs/small/cells",
        "waves/exit_waves",
        "configuration/small/study.yaml",
        "folder/small",
        "private.png",
    ):
        (tmp_path / path).chmod(0o700 if (tmp_path / path).is_dir() else 0o600)
    for path in tmp_path.rglob("*"):
        os.chown(path, 65534, 65534)
    segment = ("segment", "au-300kv", "--pixel-size", "0.782", "--out", "results")
    cannot, ask = (
        "cannot be written: Permission denied; choose another",
        "Permission denied; ask its owner for the right to read it",
    )
    expected = {
        ("study", "status", "read/small"): None,
        ("study", "run", "read/small", "--workers", "1"): f".lock: {cannot}",
        ("study", "report", "read/small"): f".lock: {cannot}",
        ("study", "status", "jobs/small"): ask,
        ("study", "report", "jobs/small"): ask,
        ("study", "run", "jobs/small"): f".lock: {cannot}",
        ("study", "status", "waves/small"): ask,
        ("study", "status", "configuration/small"): "study.yaml: cannot be read: Permission denied",
        ("study", "run", "folder/small"): "is not readable",
        (*segment, "image.png"): f"_mask.tif: {cannot}",
        (*segment[:-1], "results/new", "image.png"): "cannot be created: Permission denied; choose another",
        (*segment, "private.png"): "cannot be read: you lack the permission",
        ("model", "import", "model.zip"): f"import: {cannot}",
    }  # fmt: skip
    for (words, message), (code, error) in zip(expected.items(), without_rights(*expected), strict=True):
        last = error.splitlines()[-1] if error else ""
        assert (code, last) == (0, "") if message is None else (code == 2 and message in last), (words, error)
