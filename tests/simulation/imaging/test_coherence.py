"""Partial coherence: the quadrature against closed forms for few beams, and the envelopes against the quadrature."""

import math

import pytest
import torch

from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from support import reference

FIELD, BAND = 16.0, 1.2
GRID = image_grid(FIELD, BAND, 0.25)
INDEX = {tuple(k): i for i, k in enumerate(disc_indices(BAND * FIELD).tolist())}


def image_of(beams, **content):
    waves = torch.zeros(1, 1, len(INDEX), dtype=torch.complex64)
    for k, amplitude in beams.items():
        waves[0, 0, INDEX[k]] = amplitude
    condition = Condition(energy_ev=300e3, pixel_size_angstrom=0.25, **content)
    image = expected_intensity(waves, transfer_on_grid(condition, GRID), GRID)[0]
    return torch.fft.fft2(image.double(), norm="forward")


def fringe(g, h, defocus, spread, convergence):
    """Contrast of the fringe of beams g and h [1/Å along x], both averaged: closed form for pure defocus."""
    lam = reference.wavelength(300e3)
    focus = math.exp(-0.5 * (math.pi * lam * spread * (g * g - h * h)) ** 2)
    # χ(g + k) − χ(h + k) = … − 2 π λ df (g − h) k, and k is normal with α/λ; its focus spread adds to df.
    tilt = math.exp(-0.5 * (2 * math.pi * defocus * (g - h) * convergence * 1e-3) ** 2)
    return focus * tilt


@pytest.mark.parametrize(("spread", "convergence"), [(30.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize(("g", "h"), [((6, 0), (0, 0)), ((8, 0), (-8, 0)), ((9, 0), (4, 0))])
def test_two_beams_in_closed_form(g, h, spread, convergence):
    defocus = 150.0
    optics = {"defocus_angstrom": defocus, "focal_spread_angstrom": spread, "convergence_mrad": convergence}
    spectrum = image_of({g: 0.6, h: 0.8}, coherence="quadrature", quadrature_nodes=15, **optics)
    expected = 0.6 * 0.8 * fringe(g[0] / FIELD, h[0] / FIELD, defocus, spread, convergence)
    assert spectrum[g[0] - h[0], 0].abs().item() == pytest.approx(expected, rel=1e-4)
    assert spectrum[0, 0].real.item() == pytest.approx(1.0, rel=1e-5)


def test_where_the_envelopes_are_exact_and_where_not():
    """For the interference with the undiffracted beam both agree; ±g interfere without loss of focus, which envelopes damp."""
    optics = {"defocus_angstrom": 100.0, "focal_spread_angstrom": 30.0}
    linear = {(0, 0): 1.0, (9, 0): 0.1}
    symmetric = {(9, 0): 0.1, (-9, 0): 0.1}
    quasi = image_of(linear, **optics), image_of(symmetric, **optics)
    exact = (image_of(beams, coherence="quadrature", **optics) for beams in (linear, symmetric))
    exact = tuple(exact)
    assert abs(quasi[0][9, 0] - exact[0][9, 0]) < 1e-4 * abs(exact[0][9, 0])
    damping = math.exp(-0.5 * (math.pi * reference.wavelength(300e3) * 30 * (9 / FIELD) ** 2) ** 2)
    assert exact[1][18, 0].abs().item() == pytest.approx(0.01, rel=1e-3)
    assert quasi[1][18, 0].abs().item() == pytest.approx(0.01 * damping**2, rel=1e-3)


def test_more_nodes_converge():
    beams = {(0, 0): 1.0, (9, 0): 0.2, (0, 7): 0.1j, (-5, 5): 0.2}
    optics = {
        "defocus_angstrom": 200.0,
        "focal_spread_angstrom": 40.0,
        "convergence_mrad": 0.5,
        "coherence": "quadrature",
    }
    reference_image = image_of(beams, quadrature_nodes=15, **optics)
    errors = [(image_of(beams, quadrature_nodes=n, **optics) - reference_image).abs().max().item() for n in (2, 4, 7)]
    assert errors[0] > errors[1] > errors[2] and errors[2] < 1e-5


def test_too_few_nodes_are_doubted_and_enough_are_not():
    """And the number that the doubt names is one that has converged."""
    optics = {"defocus_angstrom": 100.0, "focal_spread_angstrom": 40.0, "coherence": "quadrature"}
    condition = Condition(energy_ev=300e3, pixel_size_angstrom=0.4, **optics)
    (doubt,) = condition.doubts()
    assert "quadrature_nodes 7 are too few" in doubt
    enough = int(doubt.split()[-1])
    assert condition.model_copy(update={"quadrature_nodes": enough}).doubts() == []
    beams = {(0, 0): 1.0, (19, 0): 0.3, (0, -19): 0.3}
    few, good, many = (image_of(beams, quadrature_nodes=n, **optics)[19, 0] for n in (7, enough, 50))
    assert abs(good - many) < 0.02 * 0.3 < abs(few - many)
