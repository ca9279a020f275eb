"""Spacings of plane waves in noise, whose frequency and uncertainty are known, and false alarms on noise without any."""

import math

import numpy as np
import pytest
from scipy import ndimage

from passband.micrographs.lattice import (
    BEND_FACTOR,
    FALSE_ALARMS,
    LEAST_ERROR,
    NOISE_FACTOR,
    amorphous_threshold,
    particle_spacings,
    spacing_columns,
)
from passband.specimens.crystals import library_crystal

GOLD = library_crystal("Au")
SIDE, PIXEL = 512, 0.25
Y, X = np.mgrid[:SIDE, :SIDE] * PIXEL


def film(seed, side=SIDE):
    """Noise whose power falls with frequency, as that of a film through a microscope does."""
    noise = np.random.default_rng(seed).normal(size=(side, side))
    return (100 + 20 * ndimage.gaussian_filter(noise, 1.2) + 2 * noise).astype(np.float32)


def wave(spacing, degrees, amplitude=4.0, phase=0.3):
    angle = math.radians(degrees)
    return amplitude * np.cos(2 * np.pi * (X * math.cos(angle) + Y * math.sin(angle)) / spacing + phase)


def grid_of_discs(radius, count=3, pitch=40.0):
    numbers = np.zeros((SIDE, SIDE), np.int32)
    for i in range(count**2):
        a, b = divmod(i, count)
        numbers[np.hypot(Y - pitch * (a + 0.6), X - pitch * (b + 0.6)) <= radius] = i + 1
    return numbers


def test_a_plane_wave_has_its_spacing_within_the_stated_uncertainty():
    numbers, truth, off, ratios = grid_of_discs(12), 2.355, [], []
    for seed in range(8):
        image = film(seed) + (wave(truth, 25 + 10 * seed) * (numbers > 0)).astype(np.float32)
        for found in particle_spacings(image, numbers, PIXEL):
            first = found[0]
            off.append(abs(first.angstrom / truth - 1))
            ratios.append(abs(first.angstrom - truth) / first.uncertainty_angstrom)
            together = math.hypot(NOISE_FACTOR * first.noise, LEAST_ERROR, BEND_FACTOR * first.bend**2)
            assert first.uncertainty_angstrom == pytest.approx(together * first.angstrom)
    assert len(off) == 72 and np.median(off) < 0.01
    assert np.mean(np.array(ratios) < 1.96) > 0.9 and 0.1 < np.median(ratios) < 1.2


def test_noise_alone_is_called_crystalline_as_rarely_as_stated():
    numbers, called = grid_of_discs(9, count=2), []
    for seed in range(60):
        called += [bool(found) for found in particle_spacings(film(seed), numbers, PIXEL)]
    # Of 240 regions 2.4 are expected.
    assert sum(called) <= 3 * FALSE_ALARMS * len(called)
    assert amorphous_threshold(film(0), numbers, PIXEL).discs >= 24


def test_reflections_are_named_with_their_deviation():
    numbers = grid_of_discs(15)
    d = [1.004 * 4.0782 / math.sqrt(3), 4.0782 / 2]
    image = film(1) + ((wave(d[0], 10, 6) + wave(d[1], 65, 3)) * (numbers > 0)).astype(np.float32)
    table = {s.name: s.to_list() for s in spacing_columns(particle_spacings(image, numbers, PIXEL), [GOLD])}
    assert all(table["crystalline"]) and table["spacing_1_angstrom"] == pytest.approx([d[0]] * 9, rel=0.01)
    assert (
        table["spacing_2_angstrom"] == pytest.approx([d[1]] * 9, rel=0.01) and table["spacing_3_angstrom"] == [None] * 9
    )
    assert {name[:9] for name in table["reflection_1"]} == {"Au {111} "} and {n[:8] for n in table["reflection_2"]} == {
        "Au {200}"
    }
    deviations = [
        float(n.removeprefix("Au {111} ").removesuffix(" %").replace("−", "-")) for n in table["reflection_1"]
    ]
    assert np.mean(deviations) == pytest.approx(0.4, abs=0.3)
    # Without a crystal, and far from all of its reflections, none is named.
    assert spacing_columns(particle_spacings(image, numbers, PIXEL), [])[3].null_count() == 9
    other = film(1) + (wave(3.0, 10, 6) * (numbers > 0)).astype(np.float32)
    assert spacing_columns(particle_spacings(other, numbers, PIXEL), [GOLD])[3].null_count() == 9


def test_particles_too_small_pixels_too_coarse_and_images_without_film():
    numbers = grid_of_discs(15)
    image = film(2) + (wave(2.355, 40, 6) * (numbers > 0)).astype(np.float32)
    assert particle_spacings(image, numbers, 1.6) == [None] * 9
    assert particle_spacings(image, grid_of_discs(3), PIXEL) == [None] * 9
    assert particle_spacings(image, np.zeros_like(numbers), PIXEL) == []
    crowded = np.ones((SIDE, SIDE), np.int32)
    assert amorphous_threshold(film(2), crowded, PIXEL).discs == 0
    [alone] = particle_spacings(film(2) + wave(2.355, 40).astype(np.float32), crowded, PIXEL)
    assert alone[0].angstrom == pytest.approx(2.355, rel=1e-3)
    assert particle_spacings(film(2), crowded, PIXEL) == [[]]


def test_a_large_particle_is_analysed_around_its_middle():
    side = 1300
    numbers = np.zeros((side, side), np.int32)
    numbers[20:-20, 30:-30] = 1
    y, x = np.mgrid[:side, :side] * PIXEL
    image = film(3, side) + np.cos(2 * np.pi * (0.6 * x + 0.3 * y)).astype(np.float32)
    [found] = particle_spacings(image, numbers, PIXEL)
    assert found[0].angstrom == pytest.approx(1 / math.hypot(0.6, 0.3), rel=1e-3)
    assert found[0].frequency == pytest.approx((0.6, 0.3), abs=1e-3)
