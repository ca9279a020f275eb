"""Particles that touch come apart at the line where they meet; others stay as they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passband.learning.particle_scores import number_particles
from passband.micrographs.split_particles import meeting, split_touching

Y, X = np.mgrid[:160, :240]


def disc(x, y, radius):
    return np.hypot(X - x, Y - y) <= radius


def split(mask, pixel=0.8):
    return split_touching(number_particles(mask, pixel), pixel)


@pytest.mark.parametrize("pixel", [0.8, 0.4, 0.2])
@pytest.mark.parametrize("share", [0.02, 0.1, 0.2])
def test_two_discs_are_cut_half_way(pixel, share):
    radius = 30
    apart = 2 * radius * (1 - share)
    parts = split(disc(60, 80, radius) | disc(60 + apart, 80, radius), pixel)
    assert parts.max() == 2
    # Beyond a pixel of the network from the middle, all belongs to the nearer disc.
    off = max(0.8 / pixel, 1)
    left, right = (parts > 0) & (60 + apart / 2 - off > X), (parts > 0) & (60 + apart / 2 + off < X)
    assert (parts[left] == 1).all() and (parts[right] == 2).all()


@pytest.mark.parametrize("shape", ["ellipse", "rod", "square", "triangle", "bent"])
def test_single_particles_stay_whole(shape):
    mask = {
        "ellipse": ((X - 120) / 60) ** 2 + ((Y - 80) / 15) ** 2 <= 1,
        "rod": (abs(X - 120) < 70) & (abs(Y - 80) < 12),
        "square": (abs(X - 120) < 40) & (abs(Y - 80) < 40),
        "triangle": (Y > 20) & (Y < 120) & (abs(X - 120) < (Y - 20) / 1.7),
        "bent": (np.hypot(X - 120, Y - 20) < 90) & (np.hypot(X - 120, Y - 20) > 60) & (Y > 40),
    }[shape]
    assert split(mask).max() == 1


def test_small_and_large_and_chains():
    large_and_small = disc(80, 80, 50) | disc(142, 80, 15)
    parts = split(large_and_small)
    assert parts.max() == 2 and (parts == parts[80, 80]).sum() == pytest.approx(np.pi * 50**2, rel=0.03)
    assert split(disc(40, 80, 22) | disc(80, 80, 22) | disc(120, 80, 22) | disc(160, 80, 22)).max() == 4
    # A bump of less than 28 Å² is no particle.
    assert split(disc(80, 80, 30) | disc(112, 80, 3)).max() == 1


def test_regions_that_nearly_touch_keep_their_pixels():
    """Between them lies one fine pixel, which no coarse pixel shows."""
    mask = (abs(Y - 80) < 60) & (X != 119) & (abs(X - 119) < 80)
    numbers = number_particles(mask, 0.1)
    assert numbers.max() == 2 and np.array_equal(split_touching(numbers, 0.1), numbers)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.8, 0.3, 0.2]))
def test_parts_divide_their_regions(seed, pixel):
    rng = np.random.default_rng(seed)
    mask = np.zeros(X.shape, dtype=bool)
    for _ in range(6):
        mask |= disc(rng.uniform(0, 240), rng.uniform(0, 160), rng.uniform(8, 35))
    numbers = number_particles(mask, pixel)
    parts = split_touching(numbers, pixel)
    assert np.array_equal(parts > 0, numbers > 0)
    found = np.unique(parts[parts > 0])
    assert np.array_equal(found, np.arange(1, len(found) + 1))
    # Each part lies in one region, in whose order they are numbered, then by their first pixel; none is a speck.
    assert all(len(np.unique(numbers[parts == i])) == 1 for i in found)
    places = [(numbers[parts == i][0], np.flatnonzero(parts == i)[0]) for i in found]
    assert places == sorted(places)
    assert all((parts == i).sum() * pixel**2 >= 28 * 0.8 for i in found)
    assert np.array_equal(meeting(parts), meeting(parts) & (parts > 0))


def test_nothing_is_nothing():
    assert not split(np.zeros((64, 64), dtype=bool)).any()
