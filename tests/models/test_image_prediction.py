"""Predictions of other tasks of a micrograph of any size, with networks whose answer is known."""

import numpy as np
import pytest
import torch

from passband.base.errors import BadInputError
from passband.learning import TASKS
from passband.micrographs.micrograph import Micrograph
from passband.models import network as module
from passband.models.card import ValueInterval
from passband.models.image_prediction import PREDICTED, predict_image
from passband.models.segment import segment
from passband.models.store import SEGMENTING, load_model
from support import made

INTERVAL = ValueInterval(
    level=0.9,
    half_width_angstrom=1.25,
    images=40,
    conditions_elsewhere=3,
    coverage_elsewhere=0.6,
    least_coverage_elsewhere=0.2,
)


class Bright(torch.nn.Module):
    """1 where the mean of 3 × 3 pixels of a normalised tile is above 1, else 0."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return (torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False) > 1.0).float()


class Constant(torch.nn.Module):
    """Half of the unit of the outputs at every pixel."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return torch.full_like(images, 0.5)


def image(shape=(128, 128), pixel=0.4, spots=()):
    y, x = np.mgrid[: shape[0], : shape[1]] * pixel
    bright = np.zeros(shape)
    for cx, cy, radius in spots:
        bright[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = 1
    noise = np.random.default_rng(0).normal(0, 0.05, shape)
    return Micrograph(bright + noise, pixel), bright


def model(folder, monkeypatch, network, task, **changes):
    monkeypatch.setattr(module, "Network", network)
    return made.bare_model(folder / task, task=task, **changes)


def test_a_map_has_the_pixels_of_the_micrograph_and_the_unit_of_the_task(tmp_path, monkeypatch):
    micrograph, bright = image(spots=[(15, 30, 6)])
    found = predict_image(model(tmp_path, monkeypatch, Bright, "thickness"), micrograph)
    assert found.map.shape == bright.shape and found.map.dtype == np.float32
    # Outputs of 1 are 20 Å.
    assert found.map[75, 37] == pytest.approx(20, abs=1e-3) and found.map[5, 5] == pytest.approx(0, abs=1e-3)
    assert found.value == pytest.approx(found.map.mean(), rel=0.05)
    assert found.interval is None and "too few test images" in str(found)
    assert found.to_dict()["quantity"] == "mean thickness"


def test_a_value_has_the_interval_of_its_model_and_says_where_it_holds(tmp_path, monkeypatch):
    micrograph, _ = image()
    found = predict_image(model(tmp_path, monkeypatch, Constant, "mean_diameter", value_interval=INTERVAL), micrograph)
    assert found.map is None and found.columns is None
    assert found.value == pytest.approx(10) and found.interval == pytest.approx((8.75, 11.25))
    text = str(found)
    assert text.startswith("mean diameter 10.00 ± 1.25 Å\n")
    assert "90% interval is calibrated on 40 simulated images of the training conditions, and holds for such" in text
    assert "under 3 other conditions it contained 60% of the true values, and 20% under the worst" in text
    assert "± 1.25" in found._repr_html_()


def test_a_field_larger_than_those_of_the_training_is_named(tmp_path, monkeypatch):
    chosen = model(tmp_path, monkeypatch, Constant, "mean_diameter", value_interval=INTERVAL)
    assert "the value is the mean over such fields" not in str(predict_image(chosen, image()[0]))
    large, _ = image((256, 300))
    assert "shows 120 × 102 Å, and the model was trained on fields of 51 Å" in str(predict_image(chosen, large))


class Peaks(torch.nn.Module):
    """The brightness of a tile, 1 at its brightest pixel."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return images / images.amax((2, 3), keepdim=True)


@pytest.mark.parametrize(("shape", "pixel"), [((64, 64), 0.8), ((100, 160), 0.4), ((200, 260), 0.23)])
def test_columns_stand_where_they_are_on_any_pixels(tmp_path, monkeypatch, shape, pixel):
    places = [(12.1, 20.3), (24.0, 11.2)]
    y, x = np.mgrid[: shape[0], : shape[1]] * pixel
    spots = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2 / 1.5**2) for cx, cy in places)
    chosen = model(tmp_path, monkeypatch, Peaks, "columns", field_pixels=64)
    found = predict_image(chosen, Micrograph(spots, pixel))
    table = found.columns.sort("x_angstrom")
    assert found.value is None and found.to_dict()["columns"] == 2
    np.testing.assert_allclose(table["x_angstrom", "y_angstrom"].to_numpy(), places, atol=0.06)
    assert table["height"].to_list() == pytest.approx([1, 1], abs=0.1)
    assert str(found) == "2 atomic columns"


def test_instances_segment_and_part_particles_that_touch(tmp_path, monkeypatch):
    class Distance(Bright):
        """The distance to the outline of two discs that touch, in units of 10 Å."""

        def forward(self, images):
            n = images.shape[-1]
            y, x = np.mgrid[:n, :n] * 0.8
            inside = np.maximum(12 - np.hypot(x - 14, y - 25), 12 - np.hypot(x - 36, y - 25))
            return torch.tensor(inside / 10, dtype=torch.float32).expand_as(images)

    micrograph, _ = image((64, 64), 0.8)
    found = segment(model(tmp_path, monkeypatch, Distance, "instances"), micrograph)
    assert found.instances.max() == 2 and found.particles["region"].to_list() == [1, 1]
    assert found.particles["x_angstrom"].sort().to_list() == pytest.approx([13.8, 36.2], abs=0.5)
    assert found.particles["confidence"].null_count() == 2
    # One over 1 + exp(−d) at d Å inside.
    assert found.probability[31, 17] == pytest.approx(1 / (1 + np.exp(-11.6)), abs=0.05)
    np.testing.assert_array_equal(found.mask, found.probability >= 0.5)


def test_each_model_is_pointed_to_its_verb(tmp_path, monkeypatch):
    micrograph, _ = image()
    assert {*PREDICTED, *SEGMENTING} == {*TASKS}
    with pytest.raises(BadInputError, match="use predict: passband predict made IMAGE") as error:
        segment(model(tmp_path, monkeypatch, Bright, "thickness"), micrograph)
    assert error.value.value == "thickness" and "\n" not in str(error.value)
    for task in SEGMENTING:
        with pytest.raises(BadInputError, match="use segment: passband segment made IMAGE"):
            predict_image(model(tmp_path, monkeypatch, Bright, task), micrograph)
    with pytest.raises(BadInputError, match="use predict"):
        load_model(tmp_path / "thickness").predict(micrograph.intensity)


def test_an_unknown_task_in_a_card_is_refused():
    with pytest.raises(ValueError, match="task 'depth' is unknown"):
        made.card(task="depth")


def test_cards_of_segmentation_are_written_as_before():
    assert not {"task", "task_scores", "value_interval"} & {*made.card().model_dump(mode="json")}
