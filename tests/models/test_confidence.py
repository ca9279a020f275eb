"""The confidence of particles: features of discs, whose values are known, and a made-up law of what is right."""

import json

import numpy as np
import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.micrographs.measure_particles import particle_table
from passband.micrographs.micrograph import Micrograph
from passband.models.confidence import (
    FEATURES,
    Confidence,
    fit,
    particle_features,
    probability_of,
    reliability,
    reliability_table,
    restore,
)
from passband.models.segment import Segmentation
from passband.models.store import PREDICTOR, read_model, write_model

WEIGHTS = np.array([2.0, -1.0, 0.5, 0.0, -0.5, -1.0])


def law(count, seed):
    """Features of particles, and whether they are right, with the probability of that."""
    rng = np.random.default_rng(seed)
    features = rng.normal(0, 1, (count, len(FEATURES))) * 3 + 1
    probability = 1 / (1 + np.exp(-((features - 1) / 3 @ WEIGHTS + 0.7)))
    return features, rng.random(count) < probability, probability


@pytest.fixture(scope="module")
def fitted():
    return fit(*law(5000, 0)[:2])


def test_the_law_is_found_and_confidences_are_right_as_often_as_they_say(fitted):
    features, right, probability = law(20000, 1)
    confidence = fitted.of(features)
    known = np.isfinite(confidence)
    assert known.mean() > 0.99 and np.abs(confidence - probability)[known].mean() < 0.02
    for low, high in ((0.0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.0)):
        inside = (confidence >= low) & (confidence < high)
        assert right[inside].mean() == pytest.approx(confidence[inside].mean(), abs=0.03)


def test_a_particle_unlike_all_of_the_calibration_has_none(fitted):
    usual = np.ones((1, len(FEATURES)))
    assert np.isfinite(fitted.of(usual)).all()
    for i in range(len(FEATURES)):
        assert np.isnan(fitted.of(usual + 30 * np.eye(len(FEATURES))[i])).all()


def test_too_few_wrong_ones_give_no_confidence():
    features, _, _ = law(100, 2)
    assert fit(features, np.arange(100) > 5) is None


def test_it_is_kept_as_numbers_and_damage_is_noticed(fitted, tmp_path, scored_model):
    saved = json.loads(json.dumps(fitted.to_json()))
    features, _, _ = law(50, 3)
    np.testing.assert_array_equal(restore(saved).of(features), fitted.of(features))
    for change in ({"scale": [0.0] * 6}, {"weights": [1.0]}, {"limit": "far"}, {"inverse": None}):
        with pytest.raises(BadInputError, match="holds no confidence"):
            restore(saved | change)
    contents = {name: (scored_model.folder / name).read_bytes() for name in scored_model.card.files}
    predictors = json.loads(contents[PREDICTOR])
    for name, kept in (("with", saved), ("damaged", {"centre": 1})):
        contents[PREDICTOR] = json.dumps(predictors | {"confidence": kept}).encode()
        write_model(tmp_path / name, scored_model.card, contents)
    assert isinstance(read_model(tmp_path / "with").confidence, Confidence)
    assert scored_model.confidence is None
    with pytest.raises(BadInputError, match=r"predictor\.json: holds no confidence"):
        _ = read_model(tmp_path / "damaged").confidence


@pytest.mark.parametrize("pixel", [0.8, 0.4])
def test_features_of_a_disc_do_not_depend_on_pixels(pixel):
    """A disc of 20 Å of probability 0.95, of which 8 Å around have 0.2; a square at the edge of 0.7."""
    y, x = np.mgrid[: round(100 / pixel), : round(100 / pixel)] * pixel
    away = np.hypot(x - 50, y - 50)
    probability = np.where(away < 10, 0.95, np.where(away < 17, 0.2, 0.0)).astype(np.float32)
    probability[(x < 12) & (y < 12)] = 0.7
    instances, particles = particle_table(probability >= 0.5, pixel, probability)
    square, disc = particle_features(instances, probability, particles, pixel)
    assert probability_of(disc[None])[0] == pytest.approx(0.95, abs=1e-3)
    assert disc[1:5] == pytest.approx([0, np.log(20), 1, 0], abs=0.05)
    # The square window of 8 Å reaches what lies within 17 Å.
    assert disc[5] == pytest.approx(0.2 * (17**2 - 10**2) / 10**2, rel=0.05)
    assert square[[1, 4, 5]].tolist() == [1, 1, 0]
    assert probability_of(square[None])[0] == pytest.approx(0.7, abs=1e-3)
    empty = particle_table(np.zeros_like(instances, dtype=bool), pixel, probability)
    assert particle_features(*empty[:1], probability, empty[1], pixel).shape == (0, len(FEATURES))


def test_reliability_counts_bins_and_squares():
    confidence = np.array([0.2, 0.5, 0.79, 0.9, 0.99, np.nan])
    right = np.array([False, True, False, True, True, True])
    result = reliability(confidence, np.full(6, 0.5), right)
    assert result.particles == (1, 2, 1, 1, 1) and result.right == (0, 1, 1, 1, 1)
    assert result.squared_confidence == pytest.approx(0.04 + 0.25 + 0.79**2 + 0.01 + 1e-4)
    assert result.squared_probability == pytest.approx(5 * 0.25)
    lines = reliability_table([result, result])
    assert lines[3] == "| 0.5 to 0.8 | 4 | 0.500 [0.500, 0.500] |"
    # Of five with a confidence, three are right.
    assert "0.600, 0.240" in lines[-1] and lines[-1].startswith("Brier score 0.185; of the mean probability")


def test_doubtful_particles_have_outlines_of_another_colour():
    mask = np.zeros((64, 64), dtype=bool)
    mask[8:24, 8:24] = mask[36:56, 36:56] = True
    probability = np.where(mask, 0.9, 0.1).astype(np.float32)
    instances, particles = particle_table(mask, 0.8, probability)
    micrograph = Micrograph(np.where(mask, 90.0, 100.0).astype(np.float32), 0.8)

    def blue(confidence):
        table = particles.with_columns(pl.Series("confidence", confidence, dtype=pl.Float64), region=pl.col("particle"))
        found = Segmentation(micrograph, probability, mask, instances, table)
        picture = np.asarray(found.overlay()).astype(int)
        return (picture == (86, 180, 233)).all(-1)[picture.shape[0] // 8 :], found

    sure, found = blue([0.9, 0.8])
    assert not sure.any() and found.to_dict()["doubtful_particles"] == 0
    one, found = blue([0.9, 0.2])
    rows, columns = np.nonzero(one)
    assert found.to_dict()["doubtful_particles"] == 1 and columns.min() > 500 and len(rows) > 100
    assert "<td>0.20</td>" in found.table_html()
    none, found = blue([None, None])
    assert not none.any() and found.to_dict()["doubtful_particles"] is None and "<td>–</td>" in found.table_html()
