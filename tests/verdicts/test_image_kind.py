"""What an image is, told from images of known kind."""

import numpy as np
import pytest
from scipy import ndimage

from passband.micrographs.micrograph import Micrograph
from passband.models.card import Specimens
from passband.specimens.crystals import library_crystal
from passband.verdicts import image_kind
from passband.verdicts.statements import Statement
from support import made

GOLD = library_crystal("Au")
PIXEL, SIDE = 0.4, 512


def noise(seed=0, deviation=1.0):
    return np.random.default_rng(seed).normal(0, deviation, (SIDE, SIDE))


def discs(count=8, radius=35.0, seed=3):
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = rng.uniform(radius, SIDE - radius, (count, 2))
    return [np.hypot(y - cy, x - cx) < radius for cy, cx in centres]


def fringes(spacing, angle):
    y, x = np.mgrid[:SIDE, :SIDE] * PIXEL
    return np.cos(2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / spacing)


def particles(scale=1.0, seed=3):
    """Dark discs with the lattice of gold, at another scale, on a film of speckle."""
    rng = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(noise(1), 2) * 3 + noise(2, 0.5)
    for disc in discs():
        angle = rng.uniform(0, np.pi)
        lattice = (
            fringes(2.355 * scale, angle) + fringes(2.355 * scale, angle + 1.23) + fringes(2.039 * scale, angle + 0.62)
        )
        image += disc * (lattice - 2)
    return image


def kind(image, pixel=PIXEL, known=None, scanned=None):
    """The finding on an image, as `kind_objections` gives it, for a model of HRTEM or of a STEM condition."""
    from types import SimpleNamespace

    recipe = {"particles": {"crystal": "Au", "count": [1, 1], "diameter_angstrom": [20.0, 30.0]}}
    card = SimpleNamespace(
        modality="stem" if scanned else "hrtem",
        conditions=[scanned],
        scored_on=None,
        specimens=known or Specimens(elements=("Au",), recipe=recipe),
        pixel_size_angstrom=0.8,
    )
    return [s.kind for s in image_kind.kind_objections(Micrograph(image.astype(np.float32), pixel), card)]


def test_an_image_of_particles_is_one():
    assert kind(particles()) == []
    assert kind(noise()) == []


def test_a_power_spectrum_is_none_whatever_its_display():
    power = np.abs(np.fft.fftshift(np.fft.fft2(particles()))) ** 2
    envelope = np.exp(-(np.hypot(*(np.mgrid[:SIDE, :SIDE] - SIDE / 2)) / 150))
    for shown in (
        np.log1p(power * envelope),
        (power * envelope) ** 0.25,
        np.roll(np.log1p(power * envelope), (9, -14), (0, 1)),
    ):
        assert kind(shown) == ["pattern"]
    # Uneven illumination is bright in the middle, too.
    assert kind(particles() + 8 * envelope) == []


def test_bright_grains_are_dark_field_and_a_hole_is_not():
    assert kind(-particles()) == ["bright"]
    hole = np.any(discs(2, 60.0), axis=0)
    film = ndimage.gaussian_filter(noise(1), 2) * 3 + noise(2, 0.5)
    assert kind(np.where(hole, 4 + noise(2, 0.5), film)) == []


def test_dark_grains_are_no_dark_field_scan():
    dark_field, bright_field = made.HAADF, made.HAADF.varied(detector={"kind": "bf", "outer_mrad": 8.0})
    assert kind(-particles(), scanned=dark_field) == []
    assert kind(particles(), scanned=dark_field) == ["dark"]
    # For a model of bright-field scans that is what particles look like.
    assert kind(particles(), scanned=bright_field) == []
    assert kind(-particles(), scanned=bright_field) == []


def test_one_lattice_over_all_leaves_no_film():
    lattice = fringes(2.355, 0.3) + fringes(2.355, 1.53) + fringes(2.039, 0.92)
    assert kind(lattice + noise()) == ["one_lattice"]
    half = np.arange(SIDE) < SIDE / 2
    assert image_kind.one_lattice(half * lattice + noise(), PIXEL) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("factor", [0.77, 1.3, 1.5])
def test_lattices_tell_a_wrong_pixel_size(factor):
    assert "do not fit Au (2.35, 2.04 Å)" in str(image_kind.wrong_scale(particles(), PIXEL * factor, GOLD))
    assert kind(particles(), PIXEL * factor) == ["lattice"]


def test_without_one_crystal_to_compare_with_no_spacing_is_wrong():
    assert image_kind.wrong_scale(particles(), PIXEL, GOLD) is None
    assert image_kind.wrong_scale(noise(), PIXEL, GOLD) is None
    unknown = Specimens(elements=("Au",))
    assert kind(particles(1.3), known=unknown) == []
    assert kind(particles(1.3)) == ["lattice"]


def test_each_finding_has_a_sentence():
    lattice = Statement("lattice", "pixel_size_angstrom", [3.06, 2.65], [2.35, 2.04], {"crystal": "Au"})
    assert str(lattice).startswith("its lattice spacings, 3.06, 2.65 Å, do not fit Au")
    for statement in (
        Statement("pattern", value=0.7),
        Statement("bright", value=2.0, limit=1.1),
        Statement("one_lattice", value=0.9, limit=0.8),
    ):
        assert str(statement)
