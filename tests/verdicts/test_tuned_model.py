"""Tuning on discs that are easy to learn, what is written of it, and verdicts that labels recalibrate."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from passband.base.errors import BadInputError
from passband.base.progress import TerminalProgress
from passband.conditions import Condition
from passband.micrographs.labels import labelled_arrays
from passband.micrographs.micrograph import Micrograph
from passband.models import label_scores, tuning
from passband.models.store import read_model, write_model
from passband.specimens import SpecimenRecipe
from passband.verdicts import tuned_model
from passband.verdicts.calibration import specimens_of
from passband.verdicts.features import LABELS, SCATTERING, TARGETS, UNTUNED
from passband.verdicts.verdict_model import VerdictModel
from support import made

RECIPE = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 51.2,
        "particles": {"count": [1, 1], "diameter_angstrom": [12.0, 14.0]},
        "substrate": {"thickness_angstrom": [4.0, 5.0]},
    }
)
Y, X = np.mgrid[:96, :96]
SMALL = {"folds": 2, "steps": 20, "scenes": (2, 2)}


def labelled(count, share=1.0):
    """Bright discs on pixels of 0.8 Å; the labels are of so much of their radius."""
    rng = np.random.default_rng(0)
    shots, labels = [], []
    for i in range(count):
        x, y = rng.uniform(25, 70, 2)
        away = np.hypot(X - x, Y - y)
        labels.append(away < share * 14)
        shots.append(Micrograph(100 + 60 * (away < 14) + rng.normal(0, 10, X.shape), 0.8, name=f"shot {i}"))
    return labelled_arrays(shots, labels)


@pytest.fixture(scope="module")
def model(tmp_path_factory, scored_model):
    """A scored model with a recipe."""
    card = scored_model.card.model_copy(update={"specimens": specimens_of(RECIPE)})
    contents = {name: (scored_model.folder / name).read_bytes() for name in card.files}
    return write_model(tmp_path_factory.mktemp("model") / "made", card, contents)


@pytest.fixture(scope="module")
def tuned(model):
    with TerminalProgress(quiet=True) as progress, pytest.MonkeyPatch.context() as patch:
        # From random weights.
        patch.setattr(tuning, "_LEARNING_RATE", 0.01)
        return tuning.tune(model, labelled(5), progress, curve=True, **SMALL)


def test_held_out_images_gain_what_is_said(model, tuned):
    before, after = ([a.dice for a in rows] for rows in (tuned.before, tuned.after))
    assert np.mean(after) > np.mean(before) + 0.1 and tuned.gain["mean"] == pytest.approx(
        np.mean(after) - np.mean(before)
    )
    assert len({id(network) for network in tuned.networks}) == 2 and tuned.networks[0] is not tuned.network
    assert tuned.simulated_dice.shape == tuned.simulated_loss.shape == (2, 4) and not tuned.worse
    # Of 0, 1 and, of folds, 2.5 → 2 images; the last is what the folds measured.
    assert tuned.curve.sizes == [0, 1, 2]
    assert [tuned.curve.points[n]["dice"].value for n in (0, 2)] == [
        pytest.approx(np.mean(before)),
        pytest.approx(np.mean(after)),
    ]
    assert "10, estimated" in str(tuned) and "<table>" in tuned._repr_html_()
    content = json.loads(json.dumps(tuned.to_dict()))
    value, low, high = content["doubling"]
    assert content["curve"][0]["images"] == 0 and low <= value <= high


def test_a_model_that_is_worse_is_said_to_be(tuned):
    worse = replace(tuned, after=tuned.before, before=tuned.after, before_at_edge=tuned.after)
    assert "the Dice of images held out changes by -" in worse.worse[0] and worse.worse_images
    forgetful = replace(tuned, simulated_dice=np.array([[0.9, 0.9], [0.9, 0.8]]))
    assert "falls from 0.900 to 0.850 (limit: 1.15 × the error)" in forgetful.worse[0]


def test_the_edge_of_simulated_images_is_that_of_the_labels(model):
    inside = labelled(3, share=0.8)
    masks = [item.truth > 0 for item in labelled(3)]
    for edge in ("labels", "model"):
        tuner = tuning.Tuner(model, inside, masks, edge, 2)
        offset, _ = tuner.run(
            np.arange(3), [(np.zeros((64, 64), np.float32) + X[:64, :64], X[:64, :64] > 9)], ("x",), lambda n: None
        )
        assert offset == pytest.approx(-14 * 0.2 * 0.8, abs=0.15)
        disc = np.hypot(X - 48, Y - 48) < 10
        [(_, mask)] = tuner.at_edge([(disc, disc)], offset)
        assert np.sqrt(mask.sum() / np.pi) == pytest.approx(10 + offset / 0.8 * (edge == "labels"), abs=0.55)


def test_what_is_written(model, tuned, tmp_path):
    written = read_model(tuned_model.write_tuned(model, labelled(5), tuned, tmp_path / "mine", "mine").folder)
    assert written.card.made_by["tuned_from"] == "made" and written.card.made_by["images"] == list(tuned.names)
    assert written.card.edge_offset_angstrom == tuned.edge_offset_angstrom
    assert "Tuned on 5 labelled images" in written.card.limits[-1]
    image = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(written.network(image), tuned.network(image).detach())
    saved = json.loads((written.folder / "predictor.json").read_text())
    assert saved[UNTUNED] == "made" and len(saved[LABELS]["dice"]) == len(saved[LABELS]["instance_f1"]) == 5
    with pytest.raises(BadInputError, match="exists"):
        tuned_model.write_tuned(model, labelled(5), tuned, tmp_path / "mine", "mine")


@pytest.mark.slow
def test_a_tuned_model_that_is_scored_again_has_a_calibration_of_its_own(model, tuned, tmp_path):
    written = tuned_model.write_tuned(model, labelled(5), tuned, tmp_path / "mine", "mine")
    again = read_model(made.with_scores(written, model.scores).folder)
    assert {UNTUNED, LABELS, SCATTERING}.isdisjoint(json.loads((again.folder / "predictor.json").read_text()))


def test_labels_recalibrate_verdicts_on_images(model, tuned, tmp_path):
    mine = tuned_model.write_tuned(model, labelled(5), tuned, tmp_path / "mine", "mine")
    verdicts, plain = VerdictModel(mine), VerdictModel(model)
    residuals = np.array(json.loads((mine.folder / "predictor.json").read_text())[LABELS]["loss"])
    features = np.array(model.scores["image1"].to_list())[:1]
    mean, reach, outcomes = verdicts._distribution("loss", "image1", features)
    assert mean == pytest.approx(plain._distribution("loss", "image1", features)[0] + residuals.mean())
    assert reach == pytest.approx(stats.t.ppf(0.95, 4) * residuals.std(ddof=1) * np.sqrt(1.2))
    assert np.mean(np.abs(outcomes - mean) <= reach) == pytest.approx(0.9, abs=0.01)
    assert verdicts.image_objections(features + 1e3, "image1")
    condition = Condition(**json.loads(model.scores["condition"][0]))
    assert plain.check(condition).caution is None
    assert "calibrated on made before it was tuned" in str(verdicts.check(condition))
    assert "recalibrated on 5 labelled images" in str(verdicts.labels_note())
    assert set(verdicts._labels) == {*TARGETS, "distance"}
    few = tuned_model.labels_corrections(model, labelled(4), replace(tuned, networks=tuned.networks[:4]))
    assert few is None


def test_the_verb(call, model, tmp_path, monkeypatch, tuned):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))
    for item in labelled(4):
        np.save(tmp_path / f"{item.name}.npy", item.micrograph.intensity)
        Image.fromarray(item.truth > 0).save(tmp_path / f"{item.name}_mask.png")
    words = ("model", "tune", model.folder, "--images", tmp_path, "--masks", tmp_path, "--pixel-size", 0.8)
    monkeypatch.setattr(tuned_model, "tune", lambda *a, **k: tuned)
    monkeypatch.setattr(tuned_model, "labels_corrections", lambda *a: None)
    code, out, err = call(*words, "--name", "mine", "--json")
    assert code == 0 and json.loads(out)["tuned"]["name"] == "mine", err
    code, _, err = call(*words, "--name", "mine")
    assert code == 2 and "exists" in err
    monkeypatch.setattr(tuned_model, "tune", lambda *a, **k: replace(tuned, after=tuned.before, before=tuned.after))
    code, out, err = call(*words, "--name", "worse")
    assert code == 1 and "was not written" in err and "worse: the Dice" in out
    assert call(*words, "--name", "worse", "--anyway")[0] == 0
    for more, message in ((("--name", "a/b"), "--name 'a/b': takes letters"), (("--out", "x"), "--out needs --name")):
        code, _, err = call(*words, *more)
        assert code == 2 and message in err


def test_what_cannot_be_tuned(model, tmp_path):
    with TerminalProgress(quiet=True) as progress:
        for source, images, settings, message in (
            (made.bare_model(tmp_path / "bare"), labelled(3), {}, "the card of made lacks the recipe"),
            (model, labelled(1), {}, "1 labelled image cannot be tuned on and held out"),
            (model, labelled(3), {"edge": "mine"}, "edge 'mine': is neither labels nor model"),
            (model, labelled(3), {"folds": 1}, "folds 1: has to be two or more"),
        ):
            with pytest.raises(BadInputError, match=message):
                tuning.tune(source, images, progress, **(SMALL | settings))
    assert label_scores.calibration_images(8, 2) == [2, 6]
