"""A network from elsewhere is scored on specimens of a recipe, and gets verdicts."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.execution.choose import make_executor
from passband.learning import count_pixels
from passband.micrographs.micrograph import Micrograph
from passband.models.external import import_onnx
from passband.models.store import read_model
from passband.specimens.recipe_files import load_recipe
from passband.verdicts import calibration
from passband.verdicts.verdict_model import VerdictModel
from passband.verdicts.zones import zones
from support import networks
from support.networks import convolution

RECIPE = "field_angstrom: {}\nparticles: {{count: [1, 1], diameter_angstrom: [9.0, 10.0]}}\nsubstrate: null\n"
CONDITIONS = """
count: 54
method: random
seed: 3
base: {energy_ev: 300000, focal_spread_angstrom: 20, aperture_mrad: 20, pixel_size_angstrom: 0.4}
draw:
  defocus_angstrom: {uniform: [-200, 200]}
  dose_per_angstrom2: {log_uniform: [100, 1000]}
"""


class _Silent:
    def note(self, text):
        pass

    def stage(self, name, total, done):
        return lambda n: None


@pytest.fixture
def call(call, monkeypatch, tmp_path):
    """The command line in this process, with models of its own."""
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))
    return call


@pytest.fixture
def files(tmp_path):
    """An ONNX network and its description, a recipe of the network's field, conditions."""
    convolution(tmp_path / "theirs.onnx")
    (tmp_path / "theirs.yaml").write_text(networks.DESCRIPTION)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(25.6))
    (tmp_path / "set.yaml").write_text(CONDITIONS)
    return tmp_path


@pytest.mark.slow
def test_their_own_network_through_the_command_line(call, files):
    code, out, err = call("model", "import", "theirs.onnx", "--card", "theirs.yaml")
    assert (code, err) == (0, "") and "passband model score theirs --recipe RECIPE" in out
    words = ("model", "score", "theirs", "--recipe", "recipe.yaml", "--conditions", "set.yaml", "--count", 2)
    code, out, _ = call(*words, "--workers", 1, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["own_loss"] > 0
    assert {role: s["conditions"] for role, s in answer["scores"].items()} == {"calibration": 40, "held_out": 14}
    assert answer["verdicts_held_out"]["condition"]["conditions"] == 14
    model = read_model(files / "mine" / "theirs")
    page = Path(answer["profile"]).read_text(encoding="utf-8")
    fitted = model.scores.filter(pl.col("role") != "held_out")
    works = (fitted["loss"] <= zones().stable_up_to * answer["own_loss"]).mean()
    assert f"works under {works:.0%} of the 40 conditions" in page and f"<td>{fitted['dice'].min():.3f}</td>" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert set(model.scores["n_images"]) == {2} and VerdictModel(model).scattering is None
    # Verdicts rest on what it was scored on, whatever its card says that it was trained on.
    assert model.card.scored_on.elements == ("Au",) and model.card.scored_on.support is None
    assert model.card.scored_on.diameter_angstrom != model.card.specimens.diameter_angstrom
    seen = Condition(**json.loads(model.scores["condition"][0]))
    assert VerdictModel(model).check(seen).answer in ("yes", "no")
    beyond = seen.model_copy(update={"aberrations": {"C10": 3000.0}})
    assert VerdictModel(model).check(beyond).answer == "cannot say"
    shown = np.random.default_rng(0).poisson(60.0, (96, 96)).astype(np.float32)
    verdict = VerdictModel(model).check_image(Micrograph(shown, 0.4))
    assert verdict.based_on == "image" and verdict.answer in ("yes", "no", "cannot say")
    code, out, _ = call("model", "show", "theirs")
    assert code == 0 and "held-out" in out


def test_what_does_not_fit_is_said_before_any_work(call, files):
    model = import_onnx(files / "theirs.onnx", files / "theirs.yaml")
    words = ("model", "score", "theirs", "--recipe", "recipe.yaml", "--conditions", "set.yaml")
    cases = {
        "is no whole number of theirs's pixels of 0.8 Å; set field_angstrom: 25.6 in the recipe": (
            "recipe.yaml",
            RECIPE.format(25.0),
        ),
        "10 conditions leave 8 to calibrate verdicts on": ("set.yaml", CONDITIONS.replace("54", "10")),
    }
    for match, (name, text) in cases.items():
        before = (files / name).read_text()
        (files / name).write_text(text)
        code, out, err = call(*words)
        assert (code, out) == (2, "") and err.count("\n") == 1 and match in err
        (files / name).write_text(before)
    assert not (files / "runs").exists()

    def scoring_of(field, **changes):
        (files / "recipe.yaml").write_text(RECIPE.format(field))
        card = model.card.model_copy(update=changes)
        conditions = [Condition(energy_ev=300e3, aberrations={"C10": float(i)}, aperture_mrad=20) for i in range(60)]
        recipe = load_recipe(files / "recipe.yaml")
        return calibration.Scoring(type(model)(model.folder, card), recipe, conditions, 2, 0.25, files)

    with pytest.raises(BadInputError, match="is 28 of theirs's pixels, and it takes multiples of 8"):
        scoring_of(22.4, divisor=8).check()
    other = Condition(energy_ev=200e3)
    with pytest.raises(BadInputError, match="energies of 200000, 300000 eV; give those of one energy"):
        scoring_of(25.6, conditions=(other,)).check()
    same = load_recipe(files / "recipe.yaml").model_dump(mode="json")
    known = model.card.specimens.model_copy(update={"recipe": same})
    with pytest.raises(BadInputError, match="trained on specimens of this very recipe"):
        scoring_of(25.6, specimens=known).check()
    larger = scoring_of(32.0, specimens=known.model_copy(update={"elements": ("Pt",)}))
    larger.check()
    [other] = larger.warnings()
    assert "particles are Au, and the card says Pt" in other
    [smaller] = scoring_of(19.2).warnings()
    assert "is 24 of theirs's pixels a side, and it was trained on 32 (25.6 Å)" in smaller
    assert scoring_of(25.6).warnings() == []


def test_a_network_of_one_size_is_refused_for_another_field_before_any_work(call, files):
    convolution(files / "fixed.onnx", shape=(1, 1, 32, 32))
    call("model", "import", "fixed.onnx", "--card", "theirs.yaml")
    (files / "recipe.yaml").write_text(RECIPE.format(51.2))
    code, out, err = call("model", "score", "theirs", "--recipe", "recipe.yaml", "--condition", "set.yaml")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "does not run on the recipe's field of 64 × 64 pixels: set field_angstrom: 25.6 in the recipe" in err
    assert not (files / "runs").exists()


def test_thick_gold_gets_the_sampling_that_it_needs(call, files, monkeypatch):
    """The strongest scatterer is tried first at the usual sampling; once refused, no other is."""
    model = import_onnx(files / "theirs.onnx", files / "theirs.yaml")
    conditions, recipe = [Condition(energy_ev=300e3, aperture_mrad=20)] * 60, load_recipe(files / "recipe.yaml")
    thin = calibration.Scoring(model, recipe, conditions, 2, 0.25, files)
    assert thin.exit_waves == calibration.ExitWaveConfig(energy_ev=300e3)
    atoms = [int(calibration.draw_specimen(recipe, i).atoms.numbers.sum()) for i in range(4)]
    tried = []

    def refuse(recipe, indices, config):
        tried.extend(indices)
        raise BadInputError("too much is scattered")

    monkeypatch.setattr(calibration, "scatter", refuse)
    thick = calibration.Scoring(model, recipe, conditions, 4, 0.25, files)
    assert thick.exit_waves == thin.exit_waves.model_copy(update={"sampling_angstrom": 0.16})
    assert len(tried) == 1 and atoms[tried[0]] == max(atoms)


def test_the_same_file_asked_in_another_way_is_scored_again(call, files, monkeypatch):
    """Or work of the first way would be taken for the second's."""
    used = []
    monkeypatch.setattr(
        calibration, "score_model", lambda model, waves, count, named, folder, *_, **__: used.append(folder)
    )
    for line in ("", "", "normalisation: min_max\n"):
        (files / "theirs.yaml").write_text(networks.DESCRIPTION + line)
        model = import_onnx(files / "theirs.onnx", files / "theirs.yaml")
        conditions = [Condition(energy_ev=300e3, aperture_mrad=20)] * 40
        scoring = calibration.Scoring(model, load_recipe(files / "recipe.yaml"), conditions, 1, 0.0, files / "runs")
        scoring.run(make_executor("serial", 1), _Silent(), memory=10**8)
        shutil.rmtree(model.folder)
    assert used[0] == used[1] != used[2]


def test_a_pixel_is_called_particle_from_the_networks_threshold_on():
    logits = torch.logit(torch.tensor([0.1, 0.35, 0.45, 0.7])).reshape(1, 1, 2, 2)
    truth = torch.tensor([0.0, 1.0, 1.0, 1.0]).reshape(1, 1, 2, 2)
    usual, eager = (count_pixels(logits, truth, t) for t in (0.5, 0.3))
    assert usual["tp"] == [1] and usual["fn"] == [2]
    assert eager["tp"] == [3] and eager["fn"] == eager["fp"] == [0]
    assert usual["loss"] == eager["loss"]
