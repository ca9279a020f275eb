"""What the rings of a micrograph add to its verdict."""

from dataclasses import replace

import numpy as np
import pytest

from deploy import made
from deploy.film import micrograph
from passband.deploy import explain
from passband.deploy.check import Judge
from passband.deploy.estimate import estimate
from passband.deploy.micrograph import Micrograph


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return Judge(made.scored_model(tmp_path_factory.mktemp("models") / "made"))


def test_optics_that_explain_a_failure_give_a_defocus_to_go_to(judge):
    counts = micrograph(250.0, C12=30.0, phi12=0.3)
    # A camera's gain hides what was counted.
    found = explain.optics_of(judge, Micrograph(1.7 * counts.intensity, 0.4, 300e3))
    assert found.objections == []
    assert found.estimated["defocus_angstrom"] == pytest.approx(250, abs=10)
    assert found.estimated["sign"] is None and not found.estimated["dose_is_known"]
    assert any("its rings give defocus, of either sign, of 2" in why for why in found.reasons)
    assert any("aberrations are unlike" in why for why in found.reasons)
    assert found.advice.startswith("go to a defocus of")
    assert found.nearest["training_condition"] in [c.to_dict() for c in judge.card.conditions]


def test_optics_that_do_not_explain_it_point_to_the_specimen(judge):
    found = explain.optics_of(judge, micrograph(75.0))
    assert found.advice.startswith("the optics do not explain it")
    assert any("on the specimens studied, a Dice of 0.9" in why for why in found.reasons)


def test_optics_far_from_all_that_was_studied_end_the_verdict(judge):
    found = explain.optics_of(judge, micrograph(900.0))
    [why] = found.objections
    assert "its rings give" in why and "is beyond" in why and "which were studied" in why
    assert found.estimated["defocus_angstrom"] == pytest.approx(900, abs=10)


def test_an_interval_that_reaches_into_the_studied_range_does_not(judge):
    image = micrograph(900.0)
    reading = estimate(image)
    [low, high] = reading.interval_angstrom
    assert low > 400
    widened = replace(
        reading,
        underfocus=replace(reading.underfocus, interval_angstrom=(200.0, high)),
        overfocus=replace(reading.overfocus, interval_angstrom=(-high, -200.0)),
    )
    conditions = explain._conditions(judge, widened)
    assert {abs(c.aberrations["C10"]) for c in explain._least(judge, widened, conditions).values()} == {200.0}


def test_without_rings_that_is_said_and_nothing_is_advised_of_the_optics(judge):
    noise = micrograph(0.0, film=0.0)
    found = explain.optics_of(judge, noise)
    assert found.estimated is None and found.nearest is None and found.objections == []
    assert len(found.reasons) == 1 and "passband check --condition" in found.advice


def test_a_blank_image_is_no_error(judge):
    found = explain.optics_of(judge, Micrograph(np.full((64, 64), 7.0, dtype=np.float32), 0.4, 300e3))
    assert found == explain.Optics()
