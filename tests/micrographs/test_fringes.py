"""Fringes whose frequency, displacement and bend are known."""

import math

import numpy as np
import pytest
from scipy import ndimage

from passband.micrographs.fringes import Fringes, common_delocalisation

SIDE, PIXEL, RADIUS = 320, 0.25, 16.0
#: In x and y [1/Å].
TRUE = (0.42, 0.13)
Y, X = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) * PIXEL
INSIDE = (np.hypot(X, Y) < RADIUS).astype(np.int32)
PHASE = 2 * np.pi * (TRUE[0] * X + TRUE[1] * Y)


def ball(delocalisation):
    """Thickness of a ball that is displaced along the frequency."""
    return np.sqrt(
        np.maximum(1 - np.hypot(X - delocalisation * TRUE[0], Y - delocalisation * TRUE[1]) ** 2 / RADIUS**2, 0)
    )


def copies(delocalisation, phase):
    """What two displaced beams show: the same fringes out of phase."""
    return ball(delocalisation) * np.cos(PHASE) + ball(-delocalisation) * np.cos(PHASE + phase)


def fringes(image):
    return Fringes(image.astype(np.float32), INSIDE, 1, ndimage.find_objects(INSIDE)[0], PIXEL)


def error(frequency):
    return abs(math.hypot(*frequency) / math.hypot(*TRUE) - 1)


@pytest.mark.parametrize("phase", [0.0, 1.0, 1.5, -1.3])
@pytest.mark.parametrize("displaced", [4, 8])
def test_displaced_copies_have_the_true_frequency(displaced, phase):
    particle, near = fringes(copies(displaced, phase)), (TRUE[0] + 0.005, TRUE[1] - 0.008)
    assert common_delocalisation([(particle, near)]) == pytest.approx(displaced, abs=1)
    assert error(particle.fit(near, displaced)[0]) < 2e-3


def test_without_the_copies_the_frequency_is_off():
    particle = fringes(copies(8, 1.5))
    assert error(particle.fit(TRUE, 0)[0]) > 5e-3


def test_the_bend_is_that_of_the_local_frequency():
    along = (TRUE[0] * X + TRUE[1] * Y) / math.hypot(*TRUE)
    straight, bent, more = (fringes(ball(0) * np.cos(PHASE + 2 * np.pi * c * along**2)).bend(TRUE, 0) for c in (0.0, 5e-4, 1e-3))  # fmt: skip
    # The local frequency rises by 2 c along; the variance of a coordinate of a ball's disc, weighted by its thickness squared, is R²/6.
    expected = 2 * 5e-4 * RADIUS / math.sqrt(6) / math.hypot(*TRUE)
    # Averages over some Å take a part of it, at the edge most.
    assert straight < 1e-3 and 0.6 * expected < bent < expected
    assert more == pytest.approx(2 * bent, rel=0.05)


def test_neighbours_do_not_matter():
    alone, numbers = copies(4, 1.5), INSIDE.copy()
    near = np.hypot(X - 28, Y) < 10
    numbers[near] = 2
    both = alone + 50 * near * np.cos(2 * np.pi * 0.44 * X)
    image = np.where(near, both, alone).astype(np.float32)
    particle = Fringes(image, numbers, 1, ndimage.find_objects(numbers)[0], PIXEL)
    assert error(particle.fit(TRUE, 4)[0]) < 2e-3
