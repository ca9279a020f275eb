import math

import numpy as np
import pytest
import torch

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.estimation.estimate import estimate
from passband.estimation.rings import FitSettings, squared_transfer
from passband.micrographs.micrograph import Micrograph
from support import reference
from support.film import LAMBDA, micrograph


def test_the_model_is_the_transfer_averaged_over_the_film():
    assert float(wavelength(300e3)) == pytest.approx(LAMBDA, rel=1e-4)
    assert reference.wavelength(300e3) == pytest.approx(LAMBDA, rel=1e-4)
    q = torch.linspace(0.1, 1.0, 40, dtype=torch.float64)
    theta = torch.tensor([[-200.0, 1e-6, 0.0, math.log(20.0), math.log(60.0)]], dtype=torch.float64)
    found = squared_transfer(theta, q, 0 * q, FitSettings(300e3, C30=-5e4, amplitude_contrast=0.1))[0].numpy()
    lam, q = float(wavelength(300e3)), q.numpy()
    heights = np.linspace(-30, 30, 4001)[:, None]
    chi = np.pi * lam * q**2 * (-200.0 + heights) - np.pi / 2 * lam**3 * q**4 * 5e4
    slow = (math.sqrt(0.99) * np.sin(chi) - 0.1 * np.cos(chi)) ** 2
    slow = slow.mean(0) * np.exp(-((np.pi * lam * 20.0 * q**2) ** 2))
    assert found == pytest.approx(slow, abs=2e-4)


@pytest.mark.parametrize("defocus", [150.0, -300.0, 2000.0])
def test_defocus_is_found_and_the_sign_is_not(defocus):
    found = estimate(micrograph(defocus))
    assert found.has_rings and found.sign is None
    assert found.defocus_angstrom == pytest.approx(abs(defocus), abs=5)
    low, high = found.interval_angstrom
    assert low <= abs(defocus) <= high and high - low < 60
    assert any("both signs of the defocus are possible" in note for note in found.notes)
    assert found.condition("underfocus").defocus_angstrom == pytest.approx(abs(defocus), abs=8)
    assert found.condition("overfocus").defocus_angstrom == pytest.approx(-abs(defocus), abs=8)
    with pytest.raises(BadInputError, match=r"\(None is neither\); give sign"):
        found.condition()


@pytest.mark.slow
def test_the_sign_is_told_by_a_large_spherical_aberration():
    for defocus in (600.0, -600.0):
        found = estimate(micrograph(defocus, C30=1.2e7, n=768, dose=500), C30=1.2e7)
        assert found.sign == ("underfocus" if defocus > 0 else "overfocus")
        assert found.condition().defocus_angstrom == pytest.approx(defocus, abs=8)
        assert found.defocus_angstrom == pytest.approx(600, abs=8)


def test_astigmatism_and_its_axis():
    found = estimate(micrograph(400.0, C12=80.0, phi12=0.5))
    under, over = found.underfocus, found.overfocus
    assert abs(under.C12 - 80) < 4 and under.phi12 == pytest.approx(0.5, abs=0.03)
    # With the other sign of the defocus the same rings have their axis across.
    assert abs(over.C12 - 80) < 4 and abs(over.phi12 - 0.5) == pytest.approx(math.pi / 2, abs=0.03)
    assert found.defocus_angstrom == pytest.approx(400, abs=5)


def test_what_it_says_makes_the_rings_again():
    """The condition that comes out, put through the generator, gives back the estimate: axes and signs are the package's."""
    first = estimate(micrograph(300.0, C12=50.0, phi12=-0.9)).condition("underfocus")
    a = first.aberrations
    again = estimate(micrograph(-a["C10"], C12=a["C12"], phi12=a["phi12"], seed=1)).condition("underfocus")
    assert again.defocus_angstrom == pytest.approx(first.defocus_angstrom, abs=6)
    assert again.aberrations["phi12"] == pytest.approx(a["phi12"], abs=0.05)


def test_a_crystal_does_not_lead_it_astray():
    found = estimate(micrograph(300.0, gold=40.0))
    assert found.defocus_angstrom == pytest.approx(300, abs=6)
    assert any(abs(s.q_per_angstrom - 1 / 2.355) < 0.01 for s in found.spots)


def test_small_images_of_coarse_pixels():
    found = estimate(micrograph(600.0, n=131, pixel=0.78))
    assert found.defocus_angstrom == pytest.approx(600, abs=10)
    assert found.information_limit_per_angstrom < 0.5 / 0.78


def test_noise_has_no_rings():
    for seed in range(2):
        counts = np.random.default_rng(seed).poisson(80, (256, 256)).astype(np.float32)
        found = estimate(Micrograph(counts, 0.4, 300e3))
        assert not found.has_rings and found.defocus_angstrom is None and found.below_angstrom is None
        assert "nowhere exceeds the noise" in found.notes[0]
        with pytest.raises(BadInputError, match="no Thon rings"):
            found.condition("underfocus")


def test_near_zero_defocus_there_is_no_ring_and_perhaps_a_bound():
    for defocus in (0.0, 30.0):
        found = estimate(micrograph(defocus, dose=2000.0))
        assert not found.has_rings and "no Thon rings" in found.notes[0]
        assert found.below_angstrom is None or defocus <= found.below_angstrom < 150


@pytest.mark.slow
def test_uncertainty_grows_as_electrons_get_fewer_until_nothing_is_claimed():
    widths = []
    for dose in (1000.0, 40.0):
        low, high = estimate(micrograph(300.0, dose=dose, n=256)).interval_angstrom
        widths.append(high - low)
    assert widths[0] < widths[1]
    assert not estimate(micrograph(300.0, dose=2.0, n=256)).has_rings


@pytest.mark.slow
def test_intervals_hold_the_truth():
    rng = np.random.default_rng(3)
    held = 0
    for seed in range(8):
        truth = float(rng.uniform(150, 900))
        found = estimate(micrograph(truth, n=256, dose=300.0, seed=seed))
        low, high = found.interval_angstrom
        held += low <= truth <= high
    assert held >= 7


def test_the_information_limit_follows_the_focal_spread():
    limits = [estimate(micrograph(400.0, spread=spread)).information_limit_per_angstrom for spread in (20.0, 50.0)]
    assert limits[0] > limits[1] + 0.1
    assert 0.5 < limits[1] < 0.8


def test_dose_is_known_only_from_electrons():
    counted = micrograph(300.0, n=192, dose=700.0)
    first = estimate(counted)
    assert first.dose_per_angstrom2 == pytest.approx(700, rel=0.02)
    scaled = Micrograph(counted.intensity * 7.3 + 100, 0.4, 300e3)
    unknown = estimate(scaled)
    assert unknown.dose_per_angstrom2 is None and any("dose is unknown" in note for note in unknown.notes)
    assert unknown.defocus_angstrom == pytest.approx(first.defocus_angstrom, abs=0.5)
    known = estimate(Micrograph(counted.intensity * 7.3, 0.4, 300e3), counts_per_electron=7.3)
    assert known.dose_per_angstrom2 == pytest.approx(700, rel=0.02)
    assert estimate(Micrograph(scaled.intensity, 0.4, 300e3, 650.0)).dose_per_angstrom2 == 650


def test_what_it_has_to_be_told():
    image = Micrograph(micrograph(300.0, n=128).intensity, 0.4)
    with pytest.raises(BadInputError, match="energy_ev"):
        estimate(image)
    with pytest.raises(BadInputError, match="C30 nan Å is outside"):
        estimate(image, energy_ev=300e3, C30=float("nan"))
    with pytest.raises(BadInputError, match="is empty"):
        estimate(image, energy_ev=300e3, defocus_range_angstrom=(500.0, 100.0))


def test_a_scan_has_no_rings_to_estimate_from():
    noise = np.random.default_rng(0).poisson(9.0, (64, 64)).astype(np.float32)
    with pytest.raises(BadInputError, match="recorded by scanning .* no Thon rings"):
        estimate(Micrograph(noise, 0.2, 300e3, scanned=True))
