"""What the rings of a micrograph add to its verdict."""

from dataclasses import replace

import numpy as np
import pytest

from passband.micrographs.micrograph import Micrograph
from passband.verdicts import image_optics
from passband.verdicts.verdict_model import VerdictModel
from support.film import micrograph


@pytest.fixture(scope="module")
def judge(scored_model):
    return VerdictModel(scored_model)


def optics_of(judge, image):
    return image_optics.optics_of(judge, image_optics.estimate_optics(judge, image))


def test_optics_that_explain_a_failure_give_a_defocus_to_go_to(judge):
    counts = micrograph(250.0, C12=30.0, phi12=0.3)
    # A camera's gain hides what was counted.
    found = optics_of(judge, Micrograph(1.7 * counts.intensity, 0.4, 300e3))
    assert found.objections == ()
    assert found.estimated.defocus_angstrom == pytest.approx(250, abs=10)
    assert found.estimated.sign is None and not found.estimated.dose_is_known
    assert any(
        "its rings give defocus, of either sign, of 2" in why and "film's middle" in why
        for why in map(str, found.facts)
    )
    assert any("aberrations are unlike" in str(why) for why in found.reasons(stable=False))
    assert str(found.remedies(judge)[0]).startswith("go to a defocus of")
    assert found.nearest.training_condition in judge.card.conditions


def test_optics_that_do_not_explain_it_point_to_the_specimen(judge):
    found = optics_of(judge, micrograph(75.0))
    assert str(found.remedies(judge)[0]).startswith("the optics do not explain it")
    assert any("on the calibrated specimens, a Dice of 0." in str(why) for why in found.reasons(stable=False))


def test_rings_that_fade_for_other_reasons_change_nothing(judge):
    faded = image_optics.estimate_optics(judge, micrograph(75.0))
    faded = replace(faded, focal_spread_angstrom=(70.0, 60.0, 80.0))
    found = image_optics.optics_of(judge, faded)
    assert found.objections == () and str(found.remedies(judge)[0]).startswith("the optics do not explain it")


def test_optics_far_from_all_that_was_studied_end_the_verdict(judge):
    found = optics_of(judge, micrograph(900.0))
    [why] = map(str, found.objections)
    assert "its rings give" in why and "is outside the calibrated range" in why
    assert found.estimated.defocus_angstrom == pytest.approx(900, abs=10)


@pytest.mark.parametrize(("near", "far", "ends"), [(200.0, 950.0, False), (500.0, 950.0, True)])
def test_an_interval_that_reaches_into_the_studied_range_does_not(judge, near, far, ends):
    reading = image_optics.estimate_optics(judge, micrograph(900.0))
    widened = replace(
        reading,
        underfocus=replace(reading.underfocus, interval_angstrom=(near, far)),
        overfocus=replace(reading.overfocus, interval_angstrom=(-far, -near)),
    )
    found = image_optics.optics_of(judge, widened)
    assert bool(found.objections) == ends


def test_an_interval_around_what_was_studied_far_from_zero_does_not_either(judge):
    only_far = [c for c in judge.calibration if c.defocus_angstrom > 200]
    far = VerdictModel(judge.model)
    far.calibration = tuple(only_far)
    reading = image_optics.estimate_optics(judge, micrograph(300.0))
    widened = replace(reading, underfocus=replace(reading.underfocus, interval_angstrom=(150.0, 400.0)))
    assert image_optics.optics_of(far, widened).objections == ()


def with_spherical(judge, values):
    other = VerdictModel(judge.model)
    other.calibration = tuple(c.varied({"C30": values[i % len(values)]}) for i, c in enumerate(judge.calibration))
    return other


def test_a_studied_C30_tells_the_sign_only_if_it_never_varied(judge):
    image = micrograph(-150.0, C30=1e6)
    known, varied = with_spherical(judge, [1e6]), with_spherical(judge, [0.0, 1e6, 2e6])
    found = image_optics.estimate_optics(known, image)
    assert found.C30 == 1e6 and found.sign == "overfocus"
    assert found.defocus_angstrom == pytest.approx(150, abs=15)
    found = image_optics.estimate_optics(varied, image)
    assert found.C30 == 1e6 and found.sign is None and "both signs of the defocus are possible" in found.notes[0]


def test_without_rings_that_is_said_and_nothing_is_advised_of_the_optics(judge):
    found = optics_of(judge, micrograph(0.0, film=0.0))
    assert found.estimated is None and found.nearest is None and found.objections == ()
    assert len(found.reasons(stable=False)) == 1 and [r.kind for r in found.remedies(judge)] == ["range"]


def test_an_almost_blank_image_is_no_error(judge):
    pixels = np.full((64, 64), 7.0, dtype=np.float32)
    pixels[30, 40] = 8.0
    assert optics_of(judge, Micrograph(pixels, 0.4, 300e3)).condition is None
