"""What was not studied, and what differs without mattering."""

import re

import pytest

from passband.verdicts.domain import Domain, SpecimenInfo
from passband.verdicts.verdict_model import VerdictModel
from support import made

CARD = made.card()
SCORED = made.draw(40, 8)


def objections(conditions, condition):
    return [str(s) for s in Domain(CARD, tuple(conditions)).objections(condition)]


def at(**changes):
    return made.BASE.varied({"dose_per_angstrom2": 1000.0, "C12": 20.0} | changes)


def camera(**content):
    return at().model_copy(update={"detector": at().detector.model_copy(update=content)})


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (at(defocus_angstrom=900.0), "defocus 900 Å is outside the calibrated range, -"),
        (at(C12=300.0), "C12 300 Å is outside"),
        (at(C30=1e7), "C30 1e\\+07 Å is outside the calibrated range, 0 to 0"),
        (at(focal_spread_angstrom=80.0), "focal spread 80 Å is outside"),
        (at(dose_per_angstrom2=5.0), "dose 5 e/Å² is outside"),
        (at(energy_ev=80e3), "the energy is 80000 eV"),
        (at(pixel_size_angstrom=1.5), "pixel size 1.5 Å is outside the calibrated range, 0.1 to 0.9"),
        (
            at(convergence_mrad=2.0, defocus_angstrom=280.0),
            "convergence 2 mrad is outside the calibrated range, 0 to 0",
        ),
        (at(drift_angstrom=2.0), "drift 2 Å is outside"),
        (at(vibration_angstrom=0.5), "vibration 0.5 Å is outside"),
        (at(aperture_mrad=8.0), "aperture 8 mrad is outside the calibrated range, 11.8 mrad and more"),
        (camera(mtf=0.1), "vibration with the blur of the camera's mtf 0.5"),
        (camera(dqe=0.05), "counted dose 50 e/Å² is outside"),
        (at(background=0.1), "background 0.1 is outside the calibrated range, 0 to 0"),
        (at().model_copy(update={"dose_per_angstrom2": None}), "no shot noise at all is outside"),
    ],
)
def test_beyond_what_was_studied(condition, message):
    [why] = objections(SCORED, condition)
    assert re.search(message, why)


@pytest.mark.parametrize(
    "condition",
    [
        at(),
        at(convergence_mrad=0.1, defocus_angstrom=200.0),
        at(drift_angstrom=0.2),
        at(aperture_mrad=20.0),
        at(C30=1e4),
        at(C12=-20.0, phi12=1.5708),
        at(focal_spread_angstrom=47.2),
        at(vibration_angstrom=0.05),
        camera(dqe=0.8),
        at(pixel_size_angstrom=0.2).model_copy(update={"detector": at().detector.model_copy(update={"binning": 2})}),
    ],
)
def test_what_hardly_matters_is_let_pass(condition):
    assert objections(SCORED, condition) == []


def test_a_large_defocus_is_not_also_blamed_on_what_it_blurs():
    far = at(defocus_angstrom=900.0, convergence_mrad=0.1)
    [why] = objections(SCORED, far)
    assert why.startswith("defocus 900 Å")
    assert objections(SCORED, at(convergence_mrad=0.1)) == []


def test_what_was_studied_at_one_value_has_a_tolerance():
    fixed = [
        c.varied({"focal_spread_angstrom": 25.0, "vibration_angstrom": 0.0, "dose_per_angstrom2": 1250.0})
        for c in SCORED
    ]
    usual = at(focal_spread_angstrom=25.1, vibration_angstrom=0.02, dose_per_angstrom2=1200.0)
    assert objections(fixed, usual) == []
    assert len(objections(fixed, at(focal_spread_angstrom=35.0, vibration_angstrom=0.3))) == 3


def test_both_ends_count():
    narrow = [c.varied({"aperture_mrad": 8.0}) for c in SCORED]
    assert objections(narrow, at(aperture_mrad=8.2)) == []
    [why] = objections(narrow, at(aperture_mrad=7.0))
    assert "7 mrad is outside the calibrated range, 8 to 8 mrad" in why
    [why] = objections(narrow, at())
    assert "no aperture is outside the calibrated range, 8 to 8 mrad" in why
    quiet = [c.model_copy(update={"dose_per_angstrom2": None}) for c in SCORED]
    [why] = objections(quiet, at(dose_per_angstrom2=1.0))
    assert "dose 1 e/Å² is outside the calibrated range, no shot noise" in why
    mixed = [*quiet, *SCORED]
    assert objections(mixed, at().model_copy(update={"dose_per_angstrom2": None})) == []
    assert objections(mixed, at(dose_per_angstrom2=1e6)) == []
    assert objections(mixed, at(dose_per_angstrom2=5.0)) != []


def test_the_typical_condition_is_one_that_was_studied():
    fixed = [c.varied({"C21": 300.0, "phi21": 0.4}) for c in SCORED]
    found = Domain(CARD, tuple(fixed)).reference()
    assert found.aberrations == {"C21": 300.0, "phi21": 0.4}
    assert objections(fixed, found) == []


@pytest.mark.parametrize(("values", "known"), [([1e6], True), ([0.0, 5e3], True), ([0.0, 1e6, 2e6], False)])
def test_a_C30_that_varied_is_not_known(values, known):
    scored = [c.varied({"C30": values[i % len(values)]}) for i, c in enumerate(SCORED)]
    middle, found = Domain(CARD, tuple(scored)).spherical()
    assert found == known and min(values) <= middle <= max(values)


@pytest.fixture(scope="module")
def model(scored_model):
    return VerdictModel(scored_model)


def test_no_number_is_given(model):
    verdict = model.check(at(defocus_angstrom=900.0))
    assert verdict.answer == "cannot say" and len(verdict.cannot_say) == 1
    assert verdict.loss is None and verdict.dice is None and verdict.zone is None


def test_a_camera_that_counts_half_is_half_the_dose(model):
    assert model.check(camera(dqe=0.5)).loss == model.check(at(dose_per_angstrom2=500.0)).loss


@pytest.mark.parametrize(
    "claim",
    [
        SpecimenInfo(elements=("Cd", "Se")),
        SpecimenInfo(support="silica"),
        SpecimenInfo(thickness_angstrom=200.0),
        SpecimenInfo(diameter_angstrom=100.0),
    ],
)
def test_another_specimen_is_another_matter(model, claim):
    verdict = model.check(at(), claim)
    assert verdict.answer == "cannot say" and verdict.loss is None
    assert model.check(at(), SpecimenInfo(("Au",), "carbon", 25.0, 20.0)).answer == "yes"
