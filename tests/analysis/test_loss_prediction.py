"""The loss that is predicted before a network is trained."""

import pytest

from passband.analysis.loss_prediction import law, predict_loss
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.specimens.recipe_files import load_recipe


@pytest.fixture(scope="module")
def gold():
    return load_recipe("gold_on_carbon")


def at(defocus, **fields):
    return Condition(
        energy_ev=300_000,
        aberrations={"C10": -defocus, "C30": -50_000.0},
        focal_spread_angstrom=20.0,
        dose_per_angstrom2=500.0,
        **fields,
    )


def test_a_film_that_was_not_met_costs_much_and_the_same_condition_nothing(gold):
    same = predict_loss([at(100.0)], [at(100.0)], gold)
    elsewhere = predict_loss([at(0.0)], [at(200.0)], gold)
    assert same.known
    assert same.film_excess == pytest.approx(1.0)
    assert same.loss.low < same.loss.predicted < same.loss.high
    assert 0.7 < same.relative_loss.predicted < 1.4
    assert elsewhere.film_excess > 1.5
    assert elsewhere.relative_loss.predicted > 1.5 * same.relative_loss.predicted
    assert set(same.to_dict()) == {"loss", "relative_loss", "known", "film_excess"}
    assert "90 % interval" in str(same)


def test_a_dose_far_from_all_studies_is_unknown(gold):
    said = predict_loss([at(100.0)], [at(100.0).varied({"dose_per_angstrom2": 1.0})], gold)
    assert not said.known
    assert "extrapolation" in str(said)
    assert 3 < said.loss.high / said.loss.low < 30


def test_other_pixels_and_specimens_without_particles_are_refused(gold):
    with pytest.raises(BadInputError, match=r"pixels of 0.2 and 0.4 Å"):
        predict_loss([at(0.0)], [at(0.0, pixel_size_angstrom=0.2)], gold)
    with pytest.raises(BadInputError, match="none is given"):
        predict_loss([], [at(0.0)], gold)
    with pytest.raises(BadInputError, match="electrons of 80000 and 300000 eV"):
        predict_loss([at(0.0), at(0.0).varied({"energy_ev": 80_000})], [at(0.0)], gold)
    with pytest.raises(BadInputError, match="does not divide the field"):
        predict_loss([at(0.0, pixel_size_angstrom=5.0)], [at(0.0, pixel_size_angstrom=5.0)], gold)
    bare = gold.model_copy(update={"substrate": None})
    with pytest.raises(BadInputError, match="no particles, or no film"):
        predict_loss([at(0.0)], [at(0.0)], bare)


def test_pixels_of_no_study_are_unknown(gold):
    assert not predict_loss([at(100.0, pixel_size_angstrom=0.2)], [at(100.0, pixel_size_angstrom=0.2)], gold).known


def test_the_laws_that_come_with_passband_are_whole():
    for target in ("log_loss", "log_excess"):
        found = law(target)
        assert found.weights.shape == (len(found.inducing) + 1,) * 2
        assert found.spread[0] > 0
        assert 0 < found.furthest < 1
