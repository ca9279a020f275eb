"""The bundled models: small, whole, and their verdicts hold as often as they say."""

import re
import runpy
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import passband as pb
from passband.cli.main import app
from passband.micrographs.agreement import agreement
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.reading import read_micrographs
from passband.models.segment import segment
from passband.models.store import installed, load_model
from passband.specimens.recipe_files import load_recipe
from passband.verdicts.features import SOURCES
from passband.verdicts.summary import evaluate_held_out
from passband.verdicts.verdict_model import VerdictModel

ROOT = Path(__file__).parents[2]
NAMES = ("au-300kv", "np-300kv")
SCANS = "np-haadf"


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return load_model(request.param)


@pytest.mark.parametrize("name", [*NAMES, SCANS])
def test_it_is_small_and_whole(name):
    model = load_model(name)
    assert installed()[model.card.name] == model.folder
    assert sum(p.stat().st_size for p in model.folder.iterdir()) <= 4_000_000
    assert {"README.md"} | set(model.card.files) >= {p.name for p in model.folder.iterdir()} - {"card.json"}


@pytest.mark.parametrize("source", SOURCES)
def test_its_verdicts_hold_as_often_as_they_say(model, source):
    found = evaluate_held_out(VerdictModel(model), source)
    assert found.conditions >= 100
    for target in ("coverage_loss", "coverage_dice"):
        # Of 110 conditions, 84 to 96 % where 90 % is true.
        assert 0.82 <= getattr(found, target) <= 0.97
    if model.card.name == "au-300kv":
        page = (ROOT / "docs" / "results" / "verdicts.md").read_text(encoding="utf-8")
        assert f"The zone is right in {found.right} of {found.asked} " in page


def test_the_conditions_kept_back_are_of_every_kind(model):
    held = model.scores.filter(pl.col("role") == "held_out")
    for name in ("C12", "ln_dose", "focal_spread", "ln_contrast", "ln_background"):
        assert held[f"feature_{name}"].n_unique() == len(held)
    # Without a corrector no coma is drawn, and with one no aperture.
    assert (held["feature_C21"] == 0).any() and (held["feature_C21"] > 0).any()
    assert (held["feature_aperture"] == 0).any() and (held["feature_aperture"] > 0).any()


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    """Steps 1, 2 and 4 of docs/microscope.md, as a newcomer would type them."""
    text = (ROOT / "docs" / "microscope.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tomorrow.yaml").write_text(re.search(r"# tomorrow.yaml\n(.*?)```", text, re.S)[1])
    runpy.run_path(str(ROOT / "examples" / "simulated_micrographs.py"))["make"](tmp_path / "micrographs", 1)
    # Networks that the reader makes, in later steps, are not there.
    orders = [line.strip().split() for line in text.splitlines() if line.startswith("    passband ")]
    codes = {}
    for order in orders:
        if order[1] in ("segment", "check") and order[2] == "au-300kv":
            options = ["--out", str(tmp_path)] if order[1] == "segment" else []
            of = "" if order[1] == "segment" else " condition" if "--condition" in order else " image"
            codes[order[1] + of] = app([*order[1:], *options], standalone_mode=False)
            assert capsys.readouterr().out
    assert codes == {"segment": None, "check image": 0, "check condition": 0}


@pytest.mark.parametrize("suffix", ["tif", "mrc"])
def test_micrographs_of_the_tutorial_are_read_with_their_scale_and_segmented(tmp_path, suffix):
    runpy.run_path(str(ROOT / "examples" / "simulated_micrographs.py"))["make"](tmp_path, 2)
    [path] = tmp_path.glob(f"*.{suffix}")
    [micrograph] = read_micrographs(path)
    assert micrograph.pixel_size_angstrom == pytest.approx(0.4)
    truth = np.asarray(Image.open(path.with_name(f"{path.stem}_mask.png")))
    assert agreement(segment(load_model("au-300kv"), micrograph).mask, truth, 0.4).dice > 0.85


def test_the_model_for_scans_earns_its_place():
    """Dice under the conditions of the training, and how often intervals hold: the numbers of docs/results/np_haadf.md."""
    model = load_model(SCANS)
    scores = model.scores
    assert scores.filter(pl.col("role") == "trained")["dice"].mean() >= 0.9
    page = (ROOT / "docs" / "results" / "np_haadf.md").read_text(encoding="utf-8")
    for source in SOURCES:
        found = evaluate_held_out(VerdictModel(model), source)
        # Of 24 conditions, 75 % or more where 90 % is true.
        assert found.conditions == 24 and found.coverage_dice >= 0.75 and found.coverage_loss >= 0.75
        assert f"{found.coverage_loss:.0%} | {found.coverage_dice:.0%} | {found.r2_log_loss:.2f}" in page


def test_a_scan_that_the_model_has_not_met_gets_a_verdict():
    """A simulated scan of other fields, under a preset with a usual dose: particles found, the true Dice predicted."""
    model, recipe = load_model(SCANS), load_recipe(ROOT / "studies" / "recipes" / "np_in_dark_field.yaml")
    recipe = recipe.model_copy(update={"seed": 99})
    condition = pb.StemCondition.preset("probe_corrected_300kv").varied(defocus=40.0, pixel_size=0.4)
    images = pb.simulate(recipe, condition, n=1)
    scan = Micrograph(images.images[0].astype(np.float32), 0.4, 300e3, scanned=True)
    verdict, found = VerdictModel(model).check_image(scan), segment(model, scan)
    true = agreement(found.mask, images.masks[0], 0.4).dice
    assert verdict.answer == "yes" and true > 0.9 and verdict.dice.low - 0.02 <= true <= verdict.dice.high + 0.02
    assert VerdictModel(model).check(condition).answer == "yes"
