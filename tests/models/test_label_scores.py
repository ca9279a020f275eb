"""Scores on labelled images, with a network whose answer is known: it calls bright what stands out of its tile."""

import json

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from passband.base.errors import BadInputError
from passband.micrographs.labels import labelled_arrays
from passband.micrographs.micrograph import Micrograph
from passband.models import network as module
from passband.models.label_scores import mean_interval, score_labels
from support import made

Y, X = np.mgrid[:128, :128]


class Bright(torch.nn.Module):
    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return 8 * (images - 1.0)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Bright)
    return made.bare_model(tmp_path / "made")


def disc(x, y, radius):
    return (X - x) ** 2 + (Y - y) ** 2 <= radius**2


def images(count, inside=0.0):
    """Discs of 16 pixels of 0.8 Å that move, and labels that lie inside their edge [pixels]."""
    rng = np.random.default_rng(0)
    shots, labels = [], []
    for i in range(count):
        places = [(30 + 8 * i, 40), (80, 95 - 5 * i)]
        bright = np.any([disc(x, y, 16) for x, y in places], axis=0)
        labels.append(np.any([disc(x, y, 16 - inside) for x, y in places], axis=0))
        shots.append(Micrograph(100 + 50 * bright + rng.normal(0, 2, X.shape), 0.8, name=f"shot {i}"))
    return shots, labels


def test_the_edge_is_calibrated_on_images_that_are_not_scored(model):
    labelled = labelled_arrays(*images(5, inside=3.0))
    drawn = score_labels(model, labelled)
    assert len(drawn.images) == 5 and drawn.mean["distance_angstrom"]["mean"] == pytest.approx(2.4, abs=0.15)
    assert drawn.total == {"particles": 10, "found": 10, "missed": 0, "invented": 0} or drawn.total["found"] >= 8
    moved = score_labels(model, labelled, calibrate_edge_on=2)
    assert moved.calibrated_on == ("shot 1", "shot 3") and moved.names == ("shot 0", "shot 2", "shot 4")
    assert moved.edge_offset_angstrom == pytest.approx(-2.4, abs=0.25)
    assert moved.mean["dice"]["low"] > 0.97 > drawn.mean["dice"]["high"]
    assert "calibrated on shot 1, shot 3, not scored" in str(moved) and "<table>" in moved._repr_html_()
    assert json.loads(json.dumps(moved.to_dict()))["images"][0]["image"] == "shot 0"
    for wrong, message in (
        ({"calibrate_edge_on": 5}, "calibrate_edge 5: has to leave images to score, of 5"),
        ({"calibrate_edge_on": 1, "edge_offset_angstrom": -1.0}, "exclude each other"),
    ):
        with pytest.raises(BadInputError, match=message):
            score_labels(model, labelled, **wrong)


def test_labels_of_the_neighbour_are_refused(model):
    shots, labels = images(5)
    score_labels(model, labelled_arrays(shots, labels))
    for step, word in ((-1, "previous"), (1, "next")):
        with pytest.raises(BadInputError, match=f"shifted by an image: the mask of the {word} image fits better"):
            score_labels(model, labelled_arrays(shots, np.roll(labels, step, axis=0)))
    # Masks that fit nothing are a bad score, and not a shift.
    score_labels(model, labelled_arrays(shots, [disc(110, 15, 9)] * 5))


def test_intervals_over_images():
    values = np.random.default_rng(1).normal(0.8, 0.1, 100)
    result = mean_interval([*values, None])
    assert result["mean"] == pytest.approx(values.mean())
    assert result["high"] - result["low"] == pytest.approx(2 * 1.96 * values.std() / 10, rel=0.1)
    assert mean_interval([None])["mean"] is None


def test_the_verb_scores_folders_or_recipes_and_not_both(call, model, tmp_path):
    for shot, label in zip(*images(3), strict=True):
        tifffile.imwrite(tmp_path / f"{shot.name}.tif", shot.intensity)
        Image.fromarray(label).save(tmp_path / f"{shot.name}_mask.png")
    folders = ("--images", tmp_path, "--masks", tmp_path)
    code, out, _ = call("model", "score", model.folder, *folders, "--pixel-size", 0.8, "--calibrate-edge", 1, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["calibrated_on"] == ["shot 1.tif"] and answer["mean"]["dice"]["mean"] > 0.97
    for words, message in (
        (folders, "--pixel-size"),
        (folders[:2], "--images and --masks belong together"),
        ((*folders, "--recipe", "gold_on_carbon"), "give either --recipe and --condition, or --images and --masks"),
        ((), "give either --recipe and --condition, or --images and --masks"),
        (("--recipe", "gold_on_carbon", "--condition", "feg_200kv", "--pixel-size", 1), "--pixel-size is of --images"),
        ((*folders, "--pixel-size", 0.8, "--calibrate-edge", 3), "--calibrate-edge 3: has to leave"),
    ):
        code, _, err = call("model", "score", model.folder, *words)
        assert code == 2 and message in err, err
