"""Cameras as the verdict sees them: the same images, or nearly, from an ideal one."""

import numpy as np
import pytest
import torch

from passband.conditions import Detector
from passband.optics import curve_at
from passband.simulation.imaging import camera_on_grid, image_grid
from passband.simulation.recording import record
from passband.verdicts.features import IMAGE_FEATURES, as_measured, as_seen, condition_features, image_features
from support import made

CARD = made.card()


def at(**changes):
    return made.BASE.model_copy(update={"dose_per_angstrom2": 800.0, "vibration_angstrom": 0.3} | changes)


@pytest.mark.parametrize("pixel", [0.8, 0.2, 0.85])
def test_a_gaussian_mtf_is_a_vibration(pixel):
    camera = at(pixel_size_angstrom=pixel, detector=Detector(mtf=0.3, dqe=0.5))
    seen, ideal = as_seen(camera, CARD), as_measured(camera, CARD)
    assert ideal.detector == Detector() and ideal.dose_per_angstrom2 == pytest.approx(400)
    # On the network's pixels, both do the same to the intensity.
    grid = image_grid(51.2, 1.2, 0.8)
    torch.testing.assert_close(camera_on_grid(ideal, grid), camera_on_grid(seen, grid), atol=1e-6, rtol=1e-5)
    # And what the network's pixels show is what the camera has done, at the same spatial frequency.
    q = torch.linspace(0, 0.5, 11, dtype=torch.float64)
    torch.testing.assert_close(curve_at(seen.detector.mtf, q * 1.6), curve_at(0.3, q * 2 * pixel))


@pytest.mark.parametrize("binning", [2, 4])
def test_binned_pixels_blur_as_a_vibration(binning):
    camera = at(
        vibration_angstrom=0.0, dose_per_angstrom2=None, pixel_size_angstrom=0.8, detector=Detector(binning=binning)
    )
    ideal, n = as_measured(camera, CARD), 128 * binning
    for waves in (8, 24, 48):
        x = torch.arange(n, dtype=torch.float64) / n
        fringes = (1 + torch.cos(2 * torch.pi * waves * x)).expand(1, n, n)
        binned = record(fringes, camera, generator=torch.Generator())[0]
        q = waves / (128 * 0.8)
        left = float(torch.fft.rfft(binned[0])[waves].abs() / torch.fft.rfft(binned[0])[0].real * 2)
        assert left == pytest.approx(float(np.exp(-2 * (np.pi * ideal.vibration_angstrom * q) ** 2)), abs=0.02)


def test_a_measured_curve_becomes_the_nearest_gaussian():
    places = np.linspace(0, 1, 21)
    gaussian = Detector(mtf=[[float(x), float(0.3 ** (x * x))] for x in places])
    steeper = Detector(mtf=[[float(x), float(0.3**x)] for x in places])
    exact = as_measured(at(detector=Detector(mtf=0.3)), CARD).vibration_angstrom
    assert as_measured(at(detector=gaussian), CARD).vibration_angstrom == pytest.approx(exact, rel=2e-3)
    assert as_measured(at(detector=steeper), CARD).vibration_angstrom > exact


def test_less_contrast_and_more_noise_are_a_lower_dose():
    # 800 e/Å² · 0.25 Å² are 200 electrons a pixel: readout of √200 and a gain residue of 1 / √200 double and treble the noise.
    deviation = 200**0.5
    camera = Detector(readout_electrons=deviation, gain_residue=1 / deviation)
    plain = as_measured(at(pixel_size_angstrom=0.5), CARD)
    assert as_measured(at(pixel_size_angstrom=0.5, contrast=0.5, background=0.1), CARD).dose_per_angstrom2 == 200
    seen = as_measured(at(pixel_size_angstrom=0.5, detector=camera), CARD)
    assert seen.dose_per_angstrom2 == pytest.approx(800 / 3)
    assert seen.varied(dose=800) == plain


def test_a_sharpened_curve_cannot_do_better_than_no_blur():
    sharpened = Detector(mtf=[[0.0, 1.0], [0.5, 1.4], [1.0, 1.2]])
    assert as_measured(at(vibration_angstrom=0.1, detector=sharpened), CARD).vibration_angstrom == 0


@pytest.mark.parametrize("ratio", [0.25, 1.1])
def test_curves_are_stretched_to_other_pixels(ratio):
    curve = [[0.0, 1.0], [0.5, 0.7], [1.0, 0.2]]
    detector = Detector(mtf=curve, dqe=curve, binning=4).on_pixels(ratio)
    fraction = torch.linspace(0, 1 / 1.1, 7, dtype=torch.float64) * min(1, 1 / ratio)
    expected = curve_at(curve, fraction * ratio)
    torch.testing.assert_close(curve_at(detector.mtf, fraction), expected)
    torch.testing.assert_close(curve_at(detector.dqe, fraction), expected)
    assert detector.binning == 1


def test_without_a_camera_nothing_changes():
    condition = at()
    assert as_measured(condition, CARD) == as_seen(condition, CARD) == condition


def test_features_know_the_camera():
    plain, camera = (
        condition_features(CARD, [at(detector=d).varied({"C10": -100.0})])
        for d in (Detector(), Detector(mtf=0.2, dqe=0.6))
    )
    changed = {name for name in plain if abs(plain[name][0] - camera[name][0]) > 1e-9}
    assert {"epsilon", "vibration", "ln_dose", "image_snr"} <= changed and "C10" not in changed


def test_the_sign_of_what_has_an_axis_is_a_turn():
    one, other = at().varied({"C12": 25.0, "phi12": 0.3}), at().varied({"C12": -25.0, "phi12": 0.3 + np.pi / 2})
    for name, values in condition_features(CARD, [one]).items():
        assert values[0] == pytest.approx(condition_features(CARD, [other])[name][0], abs=1e-6), name


def test_unsure_pixels_and_the_disagreement_of_two_networks():
    """A quarter marked, an eighth unsure; a second network that agrees, and one that marks as much elsewhere."""
    images = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(1))
    logits = torch.full((2, 1, 32, 32), -9.0)
    logits[..., :8] = 9.0
    moved = logits.roll(8, -1)
    logits[..., 8:12] = -0.5
    first, same, apart = (image_features(images, logits, 0.5, other) for other in (None, logits, moved))
    assert len(first) == len(IMAGE_FEATURES) - 1 and np.allclose(first, same[:-1])
    assert np.isclose(first[-1], np.log((1 / 8 + 1e-3) / (2 / 4 + 1e-3)))
    assert np.isclose(same[-1], np.log(1e-3)) and np.isclose(apart[-1], 0.0, atol=0.01)


def test_features_of_many_doses_are_those_of_each():
    """Conditions that differ in the dose alone share their optics; each has the features that it has alone."""
    card = made.card()
    doses = [None, 100.0, 700.0]
    conditions = [
        made.BASE.varied({"C10": c, "C12": 20.0, "dose_per_angstrom2": d}) for d in doses for c in (-90.0, 40.0)
    ]
    together = condition_features(card, conditions)
    for i, condition in enumerate(conditions):
        for name, values in condition_features(card, [condition]).items():
            assert values[0] == pytest.approx(together[name][i], rel=1e-9, abs=1e-12), name
    assert len({float(v) for v in together["image_snr"]}) == 6 and len({float(v) for v in together["sigma"]}) == 2
