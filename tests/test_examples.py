"""The tutorial runs, and its page says what it prints."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image

from passband.micrographs.agreement import agreement
from passband.models import tuning
from support.shell import run_here

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_tutorial_page_says_what_the_script_prints(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "from_the_alignment_screen.py"), run_name="__main__")
    said = capsys.readouterr().out
    for name in ("today.svg", "trained_and_today.svg"):
        assert (tmp_path / "runs" / "tutorial" / name).read_text().startswith("<?xml")
    page = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    for line in ("also transfers 81% of what", "reversed at 0.76–0.91 1/Å"):
        assert line in said and line in page
    for number in ("0.475", "0.490", "0.812", "0.479", "0.986", "0.846", "630"):
        assert re.search(rf"(?<![\d.]){re.escape(number)}", said), number
        assert number in page
    assert "defocus +51 Å" in said and "go to +51 Å" in page


@pytest.mark.slow
def test_from_labelled_images_to_a_verdict_of_a_tuned_model(call, monkeypatch, tmp_path):
    """The commands of docs/labels.md, with few images and steps."""
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr(tuning, "SCENES", (3, 2))
    runpy.run_path(str(ROOT / "examples" / "eight_labelled_images.py"))["make"](tmp_path / "shots", 5)
    page = (ROOT / "docs" / "labels.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in page.splitlines() if line.startswith("    passband ")]
    score, tune, curve, check = (line.split()[1:] for line in lines)
    code, out, error = call(*score, "--json")
    assert code == 0, error
    assert json.loads(out)["edge_offset_angstrom"] == pytest.approx(-2.0, abs=0.4)
    code, out, error = call(*tune, "--steps", 4, "--folds", 2, "--anyway", "--json")
    assert code == 0, error
    answer = json.loads(out)
    assert answer["tuned"]["name"] == "mine"
    code, out, error = call(*curve, "--steps", 2, "--workers", 1, "--json")
    assert code == 0, error
    answer = json.loads(out)
    assert [p["images"] for p in answer["points"]] == [0, 1, 2, 4] and (tmp_path / "curve.png").exists()
    assert [p["images"] for p in answer["estimates"]] == [5, 10]
    code, out, error = call(*check)
    assert code in (0, 1) and "mine" in out, error


def test_the_slurm_example_asks_for_what_it_is_told():
    slurm = runpy.run_path(str(ROOT / "examples" / "slurm.py"))
    with slurm["make_cluster"](4, 16, "32GB", "02:00:00", "long") as made:
        script = made.job_script()
    for wanted in (
        "#SBATCH -p long",
        "#SBATCH --cpus-per-task=16",
        "#SBATCH -t 02:00:00",
        "--nworkers 16",
        "--nthreads 1",
    ):
        assert wanted in script, script


@pytest.mark.slow
def test_a_folder_from_images_to_one_table(monkeypatch, tmp_path):
    """The commands of docs/folder.md, with two images and one process."""
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(ROOT / "examples" / "simulated_micrographs.py"))["make"](tmp_path / "session", 2)
    page = (ROOT / "docs" / "folder.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in page.splitlines() if line.startswith("    passband ")]
    first, again, check, estimate = (run_here(*line.split()[1:], "--json", "--workers", "1") for line in lines)
    assert [code for code, *_ in (first, again, check, estimate)] == [0, 0, 0, 0]
    whole, resumed, judged, optics = (json.loads(out) for _, out, _ in (first, again, check, estimate))
    assert (whole["finished_before"], resumed["finished_before"]) == (0, 2) and whole["images"] == resumed["images"]
    named = set(
        re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `")))
    )
    table = pl.read_parquet("segmented/summary.parquet")
    assert named == set(table.columns) and pl.read_csv("segmented/summary.csv").columns == table.columns
    assert table["verdict"].to_list() == ["yes", "yes"] == [image["verdict"]["answer"] for image in whole["images"]]
    for image, path in zip(whole["images"], ("gold_0", "gold_1"), strict=True):
        truth = np.asarray(Image.open(f"session/{path}_mask.png")) > 0
        assert agreement(tifffile.imread(image["files"]["mask"]) > 0, truth, 0.4).dice > 0.85
    # The true defocus of the foil's exit plane is 120 Å, behind the middle of the film.
    for row in (*judged["images"], *optics["images"]):
        known = row.get("optics") or row
        assert 60 < known["defocus_angstrom"] < 130
    assert all((tmp_path / name / "summary.html").is_file() for name in ("segmented", "checked", "estimated"))


@pytest.mark.slow
def test_a_movie_from_frames_to_tracks(monkeypatch, tmp_path):
    """The commands of docs/movie.md, with fewer frames and one process."""
    monkeypatch.chdir(tmp_path)
    places = runpy.run_path(str(ROOT / "examples" / "simulated_movie.py"))["make"](tmp_path / "gold_movie.tif", 24)
    page = (ROOT / "docs" / "movie.md").read_text(encoding="utf-8")
    first, estimate = (line.split()[1:] for line in page.splitlines() if line.startswith("    passband "))
    code, out, error = run_here(*first, "--json", "--workers", "1")
    assert code == 0, error
    answer = json.loads(out)
    assert answer["answer"] == "yes" and answer["sum"]["particles"] > 1
    found = np.array([(frame["y_angstrom"], frame["x_angstrom"]) for frame in answer["frames"]]) - places
    assert np.sqrt(np.mean((found - found.mean(0)) ** 2)) < 0.1 * 0.4
    assert all(
        Path(file).is_file() and f"`{Path(file).name}`" in page for n, file in answer["files"].items() if n != "overlay"
    )
    code, out, _ = run_here(*estimate, "--json")
    assert json.loads(out)["images"][0]["dose_per_angstrom2"] == 24 * 20


@pytest.mark.slow
def test_a_session_that_drifts_until_the_answer_turns(monkeypatch, tmp_path):
    """The commands of docs/tonight.md, with four images and one process."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "tonight.md").read_text(encoding="utf-8")
    play, watch, segment = (
        line.split() for line in page.splitlines() if re.match(r"    (python examples|passband (watch|segment))", line)
    )
    play[0], play[1], play[play.index("--images") + 1], play[play.index("--every") + 1] = (
        sys.executable,
        str(ROOT / play[1]),
        "4",
        "1",
    )
    watch[watch.index("--until-idle") + 1] = "20"
    with subprocess.Popen(play[: play.index("&")], stdout=subprocess.PIPE, text=True) as microscope:
        assert microscope.stdout is not None and "shot_000.tif at defocus +300 Å" in microscope.stdout.readline()
        code, out, error = run_here(*watch[1:], "--json", "--workers", 1)
    answer = json.loads(out)
    assert code == 1 and [image["image"] for image in answer["images"]] == [f"shot_00{i}.tif" for i in range(4)]
    answers = [image["verdict"]["answer"] for image in answer["images"]]
    assert answers[0] == "yes" and answers[-1] in ("no", "cannot say")
    lines = [line for line in error.splitlines() if "shot_00" in line]
    assert len(lines) == 4 and re.search(r"\d\d:\d\d:\d\d  shot_000\.tif: yes, Dice 0\.\d\d \(", lines[0])
    assert Path(answer["live_page"]).stat().st_size > 10_000
    code, out, _ = run_here(*segment[1:], "--json", "--workers", 1)
    again = json.loads(out)
    assert code == 1 and again["finished_before"] == 4 and again["images"] == answer["images"]


@pytest.mark.slow
def test_training_images_in_every_layout(monkeypatch, tmp_path):
    """The commands and the Python of docs/training_images.md, but for tuning, in one process."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "training_images.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in page.splitlines() if line.startswith("    passband ")]
    plain, nnunet, coco, tune, score = (shlex.split(line)[1:] for line in lines)
    facts = []
    for words in (plain, nnunet, coco):
        code, out, _ = run_here(*words, "--json", "--workers", "1")
        facts.append(json.loads(out))
        assert code == 0 and facts[-1]["split"] == {"train": 32, "validation": 4, "test": 4}
    assert facts[0]["exit_waves"] == facts[1]["exit_waves"] == facts[2]["exit_waves"]
    assert (tmp_path / "runs/Dataset001_Gold/dataset.json").is_file()
    assert (tmp_path / "runs/coco/annotations/train.json").is_file()
    assert tune[:3] == ["model", "tune", "au-300kv"] and all(Path(tune[i]).is_dir() for i in (4, 6))
    code, out, _ = run_here(*score, "--json")
    assert code == 0 and "dice" in out
    names = {}
    [block] = [b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import passband" in b]
    # The folder is finished, so that nothing is made.
    exec(block, names)
    made = tifffile.imread(tmp_path / "runs/gold" / names["row"]["image"])
    np.testing.assert_array_equal(names["image"].images[0], made)
    named = {
        name
        for line in page.splitlines()
        if line.startswith("| `conditions.parquet`")
        for name in re.findall(r"`(\w+)`", line)
    }
    assert {"split", "specimen", "seed", "particles", "condition"} <= named <= set(names["gold"].table.columns)
