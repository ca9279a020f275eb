import math

import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.estimation.spectrum import power_spectrum
from passband.micrographs.micrograph import Micrograph

BAND = (0.1, 1.1)


def noise(shape=(256, 256), mean=80.0, seed=0):
    return np.random.default_rng(seed).poisson(mean, shape).astype(np.float32)


def lattice(shape, spacing, angle, amplitude, pixel=0.4):
    """A plane wave of a lattice plane, along an angle from x (the columns) towards y (the rows)."""
    y, x = np.meshgrid(*(pixel * np.arange(n) for n in shape), indexing="ij")
    return amplitude * np.cos(2 * np.pi / spacing * (x * math.cos(angle) + y * math.sin(angle)))


@pytest.mark.parametrize("shape", [(131, 131), (256, 256), (700, 300)])
def test_white_noise_has_its_variance_at_every_frequency(shape):
    found = power_spectrum(Micrograph(noise(shape), 0.4), band_per_angstrom=BAND, rings=50, side_angstrom=60.0)
    assert np.nansum(found.power * found.count) / found.count.sum() == pytest.approx(80, rel=0.05)
    assert found.noise == pytest.approx(80, rel=0.05)
    assert found.spots == () and found.masked == 0
    assert found.mean == pytest.approx(80, rel=0.02)


def test_the_count_is_what_the_scatter_says():
    """The mean over a bin scatters like one of as many independent exponential values."""
    found = power_spectrum(
        Micrograph(noise((512, 512)), 0.4), band_per_angstrom=BAND, rings=20, sectors=12, side_angstrom=100.0
    )
    scatter = np.mean((found.power / 80 - 1) ** 2 * found.count)
    assert 0.8 < scatter < 1.4


def test_rings_are_those_of_a_sum_over_pixels():
    image = noise((64, 64))
    found = power_spectrum(Micrograph(image, 0.4), band_per_angstrom=BAND, rings=8, sectors=4, mask_spots=False)
    k = np.fft.fftfreq(64, 0.4)
    q2 = k[:, None] ** 2 + k[None, : 64 // 2] ** 2
    inside = (q2 >= BAND[0] ** 2) & (q2 < BAND[1] ** 2) & ((k[None, :32] > 0) | (k[:, None] > 0))
    edge = np.minimum(np.arange(64) + 0.5, 63.5 - np.arange(64)) / 12.8
    window = np.sin(np.pi / 2 * np.minimum(edge, 1)) ** 2
    power = np.abs(np.fft.fft2((image - image.mean()) * np.outer(window, window)))[:, :32] ** 2 / (window**2).sum() ** 2
    total = np.nansum(found.power * found.count)
    assert total / found.count.sum() == pytest.approx(power[inside].mean(), rel=1e-4)


def test_sectors_count_from_the_columns_axis():
    """A stripe pattern that varies along the columns has its power at angle 0."""
    image = noise((256, 256)) + lattice((256, 256), 2.5, 0.0, 30.0).astype(np.float32)
    found = power_spectrum(Micrograph(image, 0.4), band_per_angstrom=BAND, rings=40, sectors=12, mask_spots=False)
    ring = np.abs(found.q - 0.4).argmin()
    assert found.power[ring].argmax() == 0
    assert found.angle[3] == pytest.approx(np.pi / 4)


def test_spots_are_found_where_the_lattice_is_and_left_out():
    shape, spacings = (512, 512), (2.355, 2.039)
    x, y = np.meshgrid(*(0.4 * np.arange(512),) * 2, indexing="ij")
    particle = np.hypot(x - 90, y - 110) < 15
    image = noise(shape, 160.0).astype(float)
    for spacing, angle in zip(spacings, (0.3, 1.4), strict=True):
        image += particle * lattice(shape, spacing, angle, 50.0)
    found = power_spectrum(Micrograph(image.astype(np.float32), 0.4), band_per_angstrom=BAND)
    assert sorted(s.q_per_angstrom for s in found.spots) == pytest.approx([1 / 2.355, 1 / 2.039], abs=0.006)
    assert [s.count for s in found.spots] == [1, 1]
    assert 0 < found.masked < 0.05
    kept = power_spectrum(Micrograph(image.astype(np.float32), 0.4), band_per_angstrom=BAND, mask_spots=False)
    assert kept.spots == ()
    # What is left are the faint tails of a disc with a sharp edge.
    lattices = np.abs(kept.q - 1 / 2.355) < 0.03
    excess, unmasked = (np.nansum(s.power * s.count, 1) / s.count.sum(1) - 160 for s in (found, kept))
    assert excess[lattices].max() < 0.2 * unmasked[lattices].max()


def test_what_cannot_be_transformed():
    with pytest.raises(BadInputError, match=r"exceeds 0 to 0\.625"):
        power_spectrum(Micrograph(noise(), 0.8), band_per_angstrom=BAND)
