"""The wheel, installed with its core dependencies into an empty environment, works away from the repository."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: A condition of the presets, near to what the bundled model was trained on.
CONDITION = """energy_ev: 300000
aberrations: {C10: -100, C30: -50000}
focal_spread_angstrom: 20
pixel_size_angstrom: 0.4
dose_per_angstrom2: 600
"""

pytestmark = pytest.mark.slow


def run(command, folder, codes=(0,)):
    # Neither this checkout nor this environment may help.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    # An sdist, and the wheel from it.
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT], out)
    assert len(list(out.glob("*.tar.gz"))) == 1
    [file] = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    run([folder / "bin" / "pip", "install", "-q", "--no-compile", "-c", ROOT / "constraints.txt", wheel], folder)
    return folder / "bin"


@pytest.fixture(scope="module")
def elsewhere(installed, tmp_path_factory):
    """A folder with simulated images and the condition that they were made under."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "condition.yaml").write_text(CONDITION, encoding="utf-8")
    passband = installed / "passband"
    run(
        [passband, "simulate", "gold_on_carbon_wide", "--condition", "condition.yaml", "--count", 1, "--out", "made"],
        folder,
    )
    return folder


def test_data_files_of_the_source_are_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    source = ROOT / "src"
    expected = {
        str(path.relative_to(source))
        for path in (source / "passband").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    expected |= {
        f"passband/files/examples/{p.relative_to(ROOT / 'studies')}" for p in (ROOT / "studies").rglob("*.yaml")
    }
    assert not expected - names
    assert not [name for name in names if name.startswith(("tests/", "replication/", "benchmarks/"))]


def test_extras_are_not_installed(installed):
    listed = {row["name"].lower() for row in json.loads(run([installed / "pip", "list", "--format=json"], installed))}
    assert not listed & {"abtem", "distributed", "panel", "bokeh", "dscribe", "onnx", "numba"}


def test_models_and_their_masks(installed, elsewhere):
    assert "au-300kv" in run([installed / "passband", "model", "list"], elsewhere)
    run([installed / "passband", "segment", "au-300kv", "made/images.tif", "--out", "segmented"], elsewhere)
    assert list((elsewhere / "segmented").glob("*_mask.tif"))


def test_a_verdict_on_a_condition_and_on_an_image(installed, elsewhere):
    for subject in (["--condition", "condition.yaml"], ["--image", "made/images.tif", "--energy", 300000]):
        run([installed / "passband", "check", "au-300kv", *subject], elsewhere, codes=(0, 1))


def test_presets_are_compared(installed, elsewhere):
    answer = run([installed / "passband", "ctf", "compare", "titan_corrected_300kv", "feg_200kv", "--json"], elsewhere)
    assert 0 < json.loads(answer)["sigma_train_test"] < 1


def test_a_bundled_study_runs(installed, elsewhere):
    run([installed / "passband", "study", "run", "quick", "--out", "runs/quick"], elsewhere)
    assert (elsewhere / "runs" / "quick" / "report.html").is_file()
    assert "finished" in run([installed / "passband", "study", "status", "runs/quick"], elsewhere)


def test_a_verb_of_an_extra_says_what_to_install(installed, elsewhere):
    done = subprocess.run(
        [str(installed / "passband"), "app"], cwd=elsewhere, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "pip install 'passband[app]'" in done.stderr
