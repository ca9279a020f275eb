"""What does not depend on how an image lies, where it is cut and in which units its intensities are."""

import functools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passband.estimation.estimate import estimate
from passband.micrographs.micrograph import Micrograph
from support.film import micrograph

C12, PHI = 60.0, 0.35


@functools.cache
def film():
    image = micrograph(350.0, C12=C12, phi12=PHI, n=224, dose=3000.0)
    return image.intensity, estimate(image).underfocus


TURNS = {
    "turned": (lambda a: np.rot90(a), lambda phi: phi + math.pi / 2),
    "mirrored": (lambda a: a[:, ::-1], lambda phi: -phi),
    "transposed": (lambda a: a.T, lambda phi: math.pi / 2 - phi),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_image_has_the_same_optics_turned(turn):
    change, axis = TURNS[turn]
    intensity, first = film()
    found = estimate(Micrograph(change(intensity), 0.4, 300e3)).underfocus
    assert found.defocus_angstrom == pytest.approx(first.defocus_angstrom, abs=2)
    assert pytest.approx(first.C12, abs=4) == found.C12
    assert math.remainder(found.phi12 - axis(first.phi12), math.pi) == pytest.approx(0, abs=0.05)


@settings(max_examples=3, deadline=None)
@given(st.floats(-36, 30), st.floats(-1e4, 1e4), st.booleans())
def test_units_offset_and_sign_of_the_intensities_do_not_matter(power, offset, negative):
    intensity, first = film()
    contrast = intensity.std(dtype=float)
    changed = (intensity.astype(float) + offset * contrast) * (10.0**power if not negative else -(10.0**power))
    found = estimate(Micrograph(changed, 0.4, 300e3)).underfocus
    assert found.defocus_angstrom == pytest.approx(first.defocus_angstrom, abs=0.5)
    assert pytest.approx(first.C12, abs=0.5) == found.C12


@settings(max_examples=2, deadline=None)
@given(st.integers(0, 28), st.integers(0, 28))
def test_a_crop_has_the_same_defocus(top, left):
    intensity, first = film()
    found = estimate(Micrograph(intensity[top : top + 190, left : left + 196], 0.4, 300e3)).underfocus
    low, high = first.interval_angstrom
    assert low - 10 < found.defocus_angstrom < high + 10


def test_the_bound_without_rings_is_about_and_from_the_film():
    """A lattice reaches far beyond the film's signal, in a few directions; it does not tighten the bound."""
    plain, gold = (estimate(micrograph(40.0, gold=radius, n=256, dose=300.0, film=0.06)) for radius in (0.0, 45.0))
    for found in (plain, gold):
        assert not found.has_rings
        if found.below_angstrom is not None:
            assert found.below_angstrom > 40.0
            assert f"thinner than {found.below_angstrom / 2:.0f} Å" in found.notes[0]
            assert "below about" in found.notes[0] and "C12" in found.notes[0] and "C30" in found.notes[0]


def test_the_dose_from_a_gain_does_not_depend_on_the_units():
    image = micrograph(300.0, n=128, dose=700.0)
    for factor in (1e-12, 1e20):
        scaled = Micrograph(image.intensity.astype(float) * factor, 0.4, 300e3)
        assert estimate(scaled, counts_per_electron=factor).dose_per_angstrom2 == pytest.approx(700, rel=0.02)
    shifted = estimate(Micrograph(image.intensity - 1e6, 0.4, 300e3), counts_per_electron=1.0)
    assert shifted.dose_per_angstrom2 is None and "is no number of counts" in shifted.notes[-1]
