"""Targets, losses and scores of the tasks beside segmentation, against closed forms and slow sums."""

import math

import numpy as np
import polars as pl
import pytest
import torch
from pydantic import TypeAdapter
from scipy import ndimage

from passband.base.errors import BadInputError
from passband.conditions import Condition, StemCondition
from passband.learning import TASKS, task_of
from passband.learning.columns import MATCH_ANGSTROM
from passband.learning.instances import separated
from passband.learning.regression import ConditionValue
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, draw_specimen
from passband.specimens.labels import atomic_columns, make_labels, particle_instances

CONFIG = ExitWaveConfig()
CONDITION = Condition(energy_ev=300e3)
ALONG_AN_AXIS = TypeAdapter(Recipe).validate_python(
    {
        "seed": 1,
        "field_angstrom": 38.4,
        "particles": [
            {"crystal": "Au", "count": [1, 2], "diameter_angstrom": [12, 16], "orientation": {"zone_axes": [[1, 1, 0]]}}
        ],
        "substrate": {"thickness_angstrom": [4, 5]},
    }
)
OF_TWO_CRYSTALS = ALONG_AN_AXIS.model_copy(
    update={"particles": [*ALONG_AN_AXIS.particles, ALONG_AN_AXIS.particles[0].model_copy(update={"crystal": "Pd"})]}
)
RNG = np.random.default_rng(3)


def maps(*values):
    return torch.tensor(np.stack(values), dtype=torch.float32)[:, None]


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_keeps_the_protocol(name):
    recipe = OF_TWO_CRYSTALS if name == "classes" else ALONG_AN_AXIS
    task = task_of(name, classes=("background", "Au", "Pd") if name == "classes" else ())
    n = CONFIG.grid_points(ALONG_AN_AXIS.field_angstrom)
    if isinstance(task, ConditionValue):
        target, other = (np.full((n, n), task.of_condition(CONDITION.varied(defocus=f)), np.float32) for f in (60, -9))
    else:
        specimen = draw_specimen(recipe, 0)
        target = task.target(recipe, specimen, CONFIG)
        assert np.array_equal(target, task.target(recipe, specimen, CONFIG))
        other = task.target(recipe, draw_specimen(recipe, 1), CONFIG)
    assert target.shape == (n, n) and target.dtype in ((np.uint8,) if task.classes else (bool, np.float32))
    targets = torch.from_numpy(np.stack([target, other]))
    # What a network might predict: the truth in its own units, with noise.
    noise = torch.randn(2, 1, n, n, generator=torch.Generator().manual_seed(0))
    true = [targets == i for i in range(len(task.classes))] or [targets]
    outputs = torch.stack(true, 1).float() / getattr(task, "scale_angstrom", 10 if name == "instances" else 1)
    outputs += 0.02 * noise - (0.4 if name == "segmentation" else 0)
    truth = task.truth(targets.numpy(), 0.2)
    columns = task.score(outputs, targets[:, None].float(), truth)
    assert list(columns) == ["loss", *task.counts] and all(len(values) == 2 for values in columns.values())
    np.testing.assert_allclose(columns["loss"], task.loss(outputs, targets[:, None].float()), rtol=1e-6)
    sums = {column: np.sum(columns[column]) for column in task.counts}
    scores = task.scores(sums)
    assert task.headline.column in scores
    # The same of a table's columns.
    table = pl.DataFrame({column: [value] for column, value in sums.items()})
    of_table = table.select(**task.scores({column: pl.col(column) for column in task.counts})).row(0, named=True)
    assert of_table == pytest.approx(scores, nan_ok=True)
    assert outputs.shape[1] == task.outputs and task.shown(outputs).shape == (2, n, n)
    assert task.shown(outputs).dtype == target.dtype
    if task.value:
        of_mean = task.shown(outputs).mean((1, 2)) - targets.numpy().mean((1, 2))
        np.testing.assert_allclose(columns["errors"] / columns["values"], of_mean, atol=1e-4)


def test_the_thickness_holds_the_volume_of_the_atoms_and_is_the_label():
    specimen = draw_specimen(ALONG_AN_AXIS, 1)
    thickness = task_of("thickness").target(ALONG_AN_AXIS, specimen, CONFIG)
    pixel = ALONG_AN_AXIS.field_angstrom / len(thickness)
    volume = sum(p.volume_per_atom * (specimen.particle == i).sum() for i, p in enumerate(specimen.particles, 1))
    assert thickness.sum() * pixel**2 == pytest.approx(volume, rel=1e-4)
    np.testing.assert_array_equal(thickness, make_labels(specimen, len(thickness)).thickness)


def test_errors_of_a_quantity_are_the_sums_over_its_pixels():
    task, true, predicted = task_of("thickness"), RNG.uniform(0, 40, (3, 8, 8)), RNG.uniform(0, 40, (3, 8, 8))
    columns = task.score(maps(*predicted) / 20, maps(*true), None)
    scores = task.scores({name: np.sum(columns[name]) for name in task.counts})
    error = predicted - true
    assert scores["mean_absolute_error_angstrom"] == pytest.approx(np.abs(error).mean(), rel=1e-5)
    assert scores["rms_error_angstrom"] == pytest.approx(math.sqrt((error**2).mean()), rel=1e-5)
    assert scores["bias_angstrom"] == pytest.approx(error.mean(), rel=1e-4)
    assert scores["r2"] == pytest.approx(1 - (error**2).sum() / ((true - true.mean()) ** 2).sum(), rel=1e-4)
    np.testing.assert_allclose(columns["loss"], (error**2).mean((1, 2)) / 400, rtol=1e-5)


def test_the_trivial_prediction_has_an_r2_of_zero():
    task, true = task_of("thickness"), RNG.uniform(0, 40, (2, 8, 8))
    columns = task.score(maps(*np.full_like(true, true.mean())) / 20, maps(*true), None)
    assert task.scores({name: np.sum(columns[name]) for name in task.counts})["r2"] == pytest.approx(0, abs=1e-4)


def test_a_value_of_the_image_is_the_mean_of_the_outputs():
    task, outputs = task_of("mean_diameter"), RNG.normal(1, 1, (2, 8, 8))
    targets = maps(np.full((8, 8), 30.0), np.full((8, 8), 10.0))
    error = 20 * outputs.mean((1, 2)) - [30, 10]
    np.testing.assert_allclose(task.loss(maps(*outputs), targets), (error / 20) ** 2, rtol=1e-4)
    columns = task.score(maps(*outputs), targets, None)
    assert task.scores({n: np.sum(columns[n]) for n in task.counts})["mean_absolute_error_angstrom"] == pytest.approx(
        np.abs(error).mean(), rel=1e-4
    )
    shown = task.shown(maps(*outputs))
    assert np.ptp(shown, axis=(1, 2)).max() < 1e-4
    np.testing.assert_allclose(shown[:, 0, 0], 20 * outputs.mean((1, 2)), rtol=1e-4)


def test_the_mean_diameter_is_of_spheres_of_the_atoms_volume():
    specimen = draw_specimen(ALONG_AN_AXIS, 2)
    target = task_of("mean_diameter").target(ALONG_AN_AXIS, specimen, CONFIG)
    diameters = []
    for i, particle in enumerate(specimen.particles, 1):
        volume = particle.volume_per_atom * int((specimen.particle == i).sum())
        diameters.append(2 * (volume / (4 / 3 * math.pi)) ** (1 / 3))
    assert target.min() == target.max() == pytest.approx(np.mean(diameters), rel=1e-5)


def test_the_defocus_is_the_negative_c10_of_any_modality():
    task = task_of("defocus")
    assert task.of_condition(CONDITION.varied(C10=-75.5)) == 75.5
    assert task.of_condition(Condition.preset("titan_corrected_300kv").varied(defocus=-30.0)) == -30.0
    stem = StemCondition.preset("probe_corrected_300kv").varied(C10=12.0)
    assert task.of_condition(stem) == -12.0


@pytest.mark.parametrize("value", [0.0, 0.1, 75.3, -12345.6789])
def test_r2_of_one_true_value_is_undefined(value):
    task, outputs = task_of("defocus"), RNG.normal(0.7, 0.1, (40, 4, 4))
    columns = task.score(maps(*outputs), maps(*np.full((40, 4, 4), value)), None)
    scores = task.scores({name: np.sum(columns[name]) for name in task.counts})
    assert scores["r2"] is None and scores["mean_absolute_error_angstrom"] > 0
    row = pl.DataFrame(columns).select(**task.scores({name: pl.col(name).sum() for name in task.counts})).row(0)
    assert row[list(scores).index("r2")] is None
    columns = task.score(maps(*outputs), maps(*(value + np.arange(40.0)[:, None, None] * np.ones((4, 4)))), None)
    true = value + np.arange(40.0)
    expected = 1 - np.sum((100 * outputs.mean((1, 2)) - true) ** 2) / np.sum((true - true.mean()) ** 2)
    found = task.scores({name: np.sum(columns[name]) for name in task.counts})["r2"]
    assert found == pytest.approx(expected, rel=1e-3)


def test_peaks_stand_at_the_columns():
    specimen, task = draw_specimen(ALONG_AN_AXIS, 0), task_of("columns")
    target = task.target(ALONG_AN_AXIS, specimen, CONFIG)
    pixel = ALONG_AN_AXIS.field_angstrom / len(target)
    _, [places] = task.truth(target[None], pixel)
    columns = atomic_columns(specimen)
    expected = np.stack([columns["x"], columns["y"]], axis=1)
    assert len(expected) > 10 and len(places) == len(expected)
    distance = np.linalg.norm(places[:, None] - expected, axis=2).min(1)
    assert distance.max() < 0.05


def test_columns_found_missed_and_invented():
    task, pixel = task_of("columns"), 0.2
    y, x = np.mgrid[:64, :64] * pixel

    def peaks(*places):
        return np.max([np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2) / 0.5**2) for a, b in places], axis=0)

    true = peaks((2, 2), (6, 6), (10, 4))
    # One is 0.3 Å away, one 0.9 Å, one is missed, and one is invented.
    called = peaks((2, 2.3), (6.9, 6), (4, 11))
    truth = task.truth(true[None], pixel)
    columns = task.score(maps(called), maps(true), truth)
    assert [int(columns[n][0]) for n in ("columns", "found_columns", "called_columns")] == [3, 1, 3]
    assert columns["column_distances"][0] == pytest.approx(0.3, abs=0.03)
    scores = task.scores({n: float(columns[n][0]) for n in task.counts})
    assert (scores["column_f1"], scores["column_recall"], scores["column_precision"]) == pytest.approx((1 / 3,) * 3)
    perfect = task.score(maps(true), maps(true), truth)
    assert perfect["found_columns"][0] == 3 and perfect["loss"][0] == 0
    nothing = task.score(maps(0 * true), maps(true), truth)
    assert nothing["found_columns"][0] == nothing["called_columns"][0] == 0
    assert MATCH_ANGSTROM == 0.6


def test_an_unknown_task_is_told_the_known_ones():
    with pytest.raises(
        BadInputError, match="'depth' is unknown; known are segmentation, instances, thickness, columns"
    ):
        task_of("depth")


def discs(*circles, n=96, pixel=0.4):
    """Return the distance to the outline of the disc at each pixel [Å]; of touching discs each has its own. Slow: pixel by pixel."""
    y, x = np.mgrid[:n, :n] * pixel
    depth = np.stack([r - np.hypot(y - a, x - b) for a, b, r in circles])
    owner = np.where(depth.max(0) > 0, depth.argmax(0), -1)
    result = np.full((n, n), -5.0, np.float32)
    for i, j in np.ndindex(n, n):
        others = owner != owner[i, j] if owner[i, j] >= 0 else owner >= 0
        nearest = np.hypot(y[others] - y[i, j], x[others] - x[i, j]).min() if others.any() else np.inf
        result[i, j] = nearest if owner[i, j] >= 0 else -min(nearest, 5.0)
    return result, owner + 1


def test_discs_that_touch_come_apart():
    distance, owner = discs((12.0, 12.0, 8.0), (12.0, 26.0, 7.0))
    found = separated(distance)
    assert found.max() == 2
    # Together they are one region of connected pixels.
    assert ndimage.label(owner > 0)[1] == 1
    for number in (1, 2):
        shared = [np.mean(owner[found == number] == k) for k in (1, 2)]
        assert max(shared) > 0.98


def test_one_particle_stays_one_despite_noise():
    distance, _ = discs((18.0, 18.0, 12.0))
    noisy = distance + np.random.default_rng(0).normal(0, 0.1, distance.shape).astype(np.float32)
    assert separated(noisy).max() == 1 and separated(np.full((8, 8), -1, np.float32)).max() == 0


def test_instances_of_a_crowd_are_those_of_the_label():
    crowd = ALONG_AN_AXIS.model_copy(
        update={"particles": [ALONG_AN_AXIS.particles[0].model_copy(update={"count": (4, 4)})], "field_angstrom": 51.2}
    )
    task, pixel = task_of("instances"), 51.2 / CONFIG.grid_points(51.2)
    for index in range(3):
        specimen = draw_specimen(crowd, index)
        target = task.target(crowd, specimen, CONFIG)
        truth = particle_instances(specimen, len(target))
        assert np.array_equal(target > 0, truth > 0)
        counted = task.score(maps(target / 10), maps(target), task.truth(target[None], pixel))
        assert counted["found"][0] == counted["particles"][0] and counted["invented"][0] == 0
        # The field repeats in the label and not in a picture: a particle across the edge has a number on each side.
        found = separated(target)
        for number in range(1, found.max() + 1):
            _, shares = np.unique(truth[found == number], return_counts=True)
            assert shares.max() / shares.sum() > 0.95
