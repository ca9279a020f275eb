"""What was not studied, and what differs without mattering."""

import re

import pytest

from deploy import made
from passband.deploy.check import check_condition
from passband.deploy.studied import Claim, condition_objections

CARD = made.card()
SCORED = made.draw(40, 8)


def at(**changes):
    return made.BASE.varied({"dose_per_angstrom2": 1000.0, "C12": 20.0} | changes)


def camera(**content):
    return at().model_copy(update={"detector": at().detector.model_copy(update=content)})


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (at(defocus_angstrom=900.0), "defocus 900 Å is beyond -"),
        (at(C12=300.0), "C12 300 Å is beyond"),
        (at(C30=1e7), "C30 1e\\+07 Å is beyond 0 to 0"),
        (at(focal_spread_angstrom=80.0), "focal_spread_angstrom 80 Å is beyond"),
        (at(dose_per_angstrom2=5.0), "a dose of 5 e/Å² is beyond"),
        (at(energy_ev=80e3), "the energy is 80000 eV"),
        (at(pixel_size_angstrom=1.5), "pixels of 1.5 Å are beyond 0.1 to 0.9"),
        (at(convergence_mrad=2.0, defocus_angstrom=280.0), "convergence_mrad 2 mrad is beyond 0 to 0"),
        (at(drift_angstrom=2.0), "drift_angstrom 2 Å is beyond"),
        (at(vibration_angstrom=0.5), "vibration_angstrom 0.5 Å is beyond"),
        (at(aperture_mrad=8.0), "aperture_mrad 8 mrad is beyond 11.8 mrad and more"),
        (camera(mtf=0.1), "vibration, with the blur of the camera's mtf, 0.5"),
        (camera(dqe=0.05), "a dose of 50 e/Å² counted is beyond"),
    ],
)
def test_beyond_what_was_studied(condition, message):
    [why] = condition_objections(CARD, SCORED, condition)
    assert re.search(message, why)


@pytest.mark.parametrize(
    "condition",
    [
        at(),
        at(convergence_mrad=0.1, defocus_angstrom=200.0),
        at(drift_angstrom=0.2),
        at(aperture_mrad=20.0),
        at(C30=1e4),
        camera(dqe=0.8),
        at(pixel_size_angstrom=0.2).model_copy(update={"detector": at().detector.model_copy(update={"binning": 2})}),
    ],
)
def test_what_hardly_matters_is_let_pass(condition):
    assert condition_objections(CARD, SCORED, condition) == []


def test_an_aperture_that_was_studied():
    studied = [c.varied({"aperture_mrad": 8.0}) for c in SCORED]
    assert condition_objections(CARD, studied, at(aperture_mrad=9.0)) == []
    assert condition_objections(CARD, studied, at(aperture_mrad=7.0)) != []


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return made.scored_model(tmp_path_factory.mktemp("models") / "made")


def test_no_number_is_given(model):
    verdict = check_condition(model, at(defocus_angstrom=900.0))
    assert verdict.answer == "cannot say" and len(verdict.cannot_say) == 1
    assert verdict.loss is None and verdict.dice is None and verdict.zone is None


def test_a_camera_that_counts_half_is_half_the_dose(model):
    assert check_condition(model, camera(dqe=0.5)).loss == check_condition(model, at(dose_per_angstrom2=500.0)).loss


@pytest.mark.parametrize(
    "claim",
    [
        Claim(elements=("Cd", "Se")),
        Claim(support="silica"),
        Claim(thickness_angstrom=200.0),
        Claim(diameter_angstrom=100.0),
    ],
)
def test_another_specimen_is_another_matter(model, claim):
    verdict = check_condition(model, at(), claim)
    assert verdict.answer == "cannot say" and verdict.loss is None
    assert check_condition(model, at(), Claim(("Au",), "carbon", 25.0, 20.0)).answer == "yes"
