"""The tool for a GPU that is at hand for minutes, tried on the CPU."""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import polars as pl
import pytest

from support.studies import study

TOOL = Path(__file__).parents[2] / "tools/gpu_session.py"


@pytest.mark.slow
def test_what_comes_back_makes_the_report(call, tiny, tmp_path):
    study(tmp_path)
    # The second would not end in time.
    (tmp_path / "large.yaml").write_text((tmp_path / "small.yaml").read_text().replace("epochs: 2", "epochs: 90000"))
    words = [
        "small.yaml",
        "large.yaml",
        "--out",
        "out",
        "--work",
        "runs",
        "--group",
        "2",
        "--cores",
        "1",
        "--device",
        "cpu",
    ]
    done = subprocess.run(
        [sys.executable, TOOL, *words, "--seconds", "120"], cwd=tmp_path, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert "large: " in done.stdout and "not begun" in done.stdout
    session = json.loads((tmp_path / "out/session.json").read_text())
    assert session["device"] == "cpu" and session["studies"].keys() == {"small"}
    row = session["studies"]["small"]
    assert (row["networks"], row["tests"], row["images"], row["failed"]) == (3, 9, 3 * 2 * 8, [])
    with tarfile.open(tmp_path / "out/small.tar.gz") as archive:
        archive.extractall(tmp_path / "back", filter="data")
    ours, theirs = (pl.read_parquet(folder / "scores.parquet") for folder in (tmp_path / "back/small", tiny[1]))
    assert ours.select("train_condition", "test_condition", "seed").equals(
        theirs.select("train_condition", "test_condition", "seed")
    )
    # Networks of a group differ from those trained alone by rounding.
    assert (ours["loss"] - theirs["loss"]).abs().max() < 0.02
    assert call("study", "report", "back/small")[0] == 0
    assert (tmp_path / "back/small/report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"), [(["absent.yaml", "--device", "cpu"], "absent.yaml"), (["absent.yaml"], "use --device cpu")]
)
def test_bad_input_is_told_before_any_work(tmp_path, words, message):
    done = subprocess.run(
        [sys.executable, TOOL, *words, "--out", "out"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
