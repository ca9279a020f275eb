"""Scores of models of other tasks on labelled images, with networks whose answer is known."""

import numpy as np
import polars as pl
import pytest
import tifffile
import torch

import passband as pb
from passband.base.errors import BadInputError
from passband.models import network as module
from passband.models.card import ValueInterval
from passband.models.task_scores import TaskScores
from support import made

INTERVAL = ValueInterval(level=0.9, half_width_angstrom=1.5, images=40)


class Constant(torch.nn.Module):
    """Half of the unit of the outputs, 10 Å, at every pixel."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return torch.full_like(images, 0.5)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Constant)
    return lambda task: made.bare_model(
        tmp_path / task, task=task, value_interval=INTERVAL, task_scores={"mean_absolute_error_angstrom": 0.5}
    )


def shots(folder, count=3, side=128):
    folder.mkdir()
    for i in range(count):
        image = np.random.default_rng(i).random((side, side), dtype=np.float32)
        tifffile.imwrite(folder / f"{i}.tif", image, imagej=True, resolution=(25, 25), metadata={"unit": "nm"})


def test_values_are_scored_by_a_table(model, tmp_path, call):
    shots(tmp_path / "shots")
    (tmp_path / "values.csv").write_text("image,value\n0.tif,10.5\n1,8\n")
    chosen = model("mean_diameter")
    code, out, _ = call("model", "score", chosen.folder, "--images", "shots", "--masks", "values.csv")
    assert code == 0
    assert out.startswith("made on 2 images: a mean diameter error of 1.250 Å\n")
    assert "under its training conditions, in its study: a mean diameter error of 0.500 Å" in out
    assert "50% of the true values lie within the 90% interval" in out and "left out: 2.tif" in out
    scores = pb.score(chosen, tmp_path / "shots", tmp_path / "values.csv")
    assert scores.table["mean_absolute_error_angstrom"].to_list() == pytest.approx([0.5, 2.0])
    assert scores.table["bias_angstrom"].to_list() == pytest.approx([-0.5, 2.0])
    assert scores.table["within"].to_list() == [1.0, 0.0]
    assert scores.total["bias_angstrom"] == pytest.approx(0.75)
    assert "mean diameter error of 1.250 Å" in scores._repr_html_()


def test_maps_are_scored_pixel_by_pixel(model, tmp_path):
    shots(tmp_path / "shots", 2)
    true = np.random.default_rng(5).uniform(0, 20, (2, 128, 128)).astype(np.float32)
    # Beside the images, as `predict` names them, and as arrays.
    tifffile.imwrite(tmp_path / "shots/0_thickness.tif", true[0])
    np.save(tmp_path / "shots/1_thickness.npy", true[1])
    scores = pb.score(model("thickness"), tmp_path / "shots", tmp_path / "shots")
    assert scores.table["image"].to_list() == ["0.tif", "1.tif"] and not scores.notes
    expected = np.abs(10 - true).mean((1, 2))
    np.testing.assert_allclose(scores.table["mean_absolute_error_angstrom"], expected, rtol=1e-5)
    assert scores.to_dict()["headline"]["unit"] == "Å"
    assert scores.table["within"].to_list() == [1.0, 1.0]


def test_what_cannot_be_scored_is_one_line(model, tmp_path, call):
    shots(tmp_path / "shots", 1)
    (tmp_path / "maps").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.csv").write_text("name,value\n0.tif,1\n")
    (tmp_path / "words.csv").write_text("image,value\n0.tif,large\n")
    np.save(tmp_path / "maps/0.npy", np.zeros((4, 4), np.float32))
    diameter, thickness = model("mean_diameter").folder, model("thickness").folder
    for folder, labels, words in (
        (diameter, "shots", "give a CSV file with the columns image and value"),
        (diameter, "bad.csv", "has no column image"),
        (diameter, "words.csv", "words.csv: cannot be read"),
        (thickness, "bad.csv", "give a folder of maps"),
        (thickness, "maps", "has the shape (4, 4), and its image (128, 128)"),
    ):
        code, out, error = call("model", "score", folder, "--images", "shots", "--masks", labels)
        assert (code, out) == (2, "") and words in error and error.count("\n") == 1, error
    code, _, error = call("model", "score", diameter, "--images", "shots", "--masks", "bad.csv", "--edge-offset", 1)
    assert code == 2 and "--edge-offset is of models that segment" in error
    with pytest.raises(BadInputError, match="has no label for any image"):
        pb.score(thickness, tmp_path / "shots", tmp_path / "empty")


def test_conditions_are_scored_together_and_apart():
    card = made.card(task="columns", task_scores={"column_f1": 0.9})
    counts = pl.DataFrame(
        {
            "name": ["a", "a", "b"],
            "loss": [0.1, 0.3, 0.2],
            "columns": [10, 10, 5],
            "found_columns": [10, 5, 0],
            "called_columns": [10, 5, 0],
            "column_distances": [1.0, 2.0, 0.0],
        }
    )
    scores = TaskScores(card, "condition", counts)
    assert scores.table["condition"].to_list() == ["a", "b"] and scores.table["images"].to_list() == [2, 1]
    assert scores.table["column_f1"][0] == pytest.approx(30 / 35) and scores.table["loss"][0] == pytest.approx(0.2)
    assert scores.total["column_recall"] == pytest.approx(15 / 25)
    assert str(scores).startswith("made on 3 images under 2 conditions: F1 of atomic columns 0.750\n")
    # Nothing was called under b.
    assert scores.to_dict()["conditions"][1]["column_precision"] is None
