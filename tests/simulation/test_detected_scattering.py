"""What an atom scatters into a detector, against direct integrals."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad

from passband.base.electron import interaction_parameter, wavelength
from passband.conditions import StemCondition
from passband.simulation.detected_scattering import amplitude, detected
from passband.specimens.scattering import scattering_factor


def made(beam, inner, outer):
    detector = {"kind": "haadf", "inner_mrad": inner, "outer_mrad": outer}
    return StemCondition(energy_ev=3e5, convergence_semiangle_mrad=beam, detector=detector)


def test_a_light_atom_scatters_as_the_first_born_approximation():
    k = np.linspace(0, 10, 50)
    born = interaction_parameter(3e5) * scattering_factor(6, torch.from_numpy(k**2)).numpy()
    assert np.allclose(np.abs(amplitude(6, 3e5, 10.0)(k)), born, rtol=2e-3)


def test_a_heavy_atom_keeps_the_number_of_electrons():
    # |exp(iσv)| = 1: what is scattered anywhere is missing ahead (the optical theorem), −2 Re g(0) = ∫|g|² d²k.
    g = amplitude(79, 3e5, 60.0)
    k = np.linspace(0, 60, 20001)
    total = np.trapezoid(2 * math.pi * k * np.abs(g(k)) ** 2, k)
    assert total == pytest.approx(-2 * g(0.0).real, rel=2e-3)


def test_a_narrow_beam_gives_the_cross_section_of_the_ring():
    lam = wavelength(3e5)
    g = amplitude(79, 3e5, 12.0)
    k = np.linspace(0.06, 0.2, 4001) / lam
    ring = np.trapezoid(2 * math.pi * k * np.abs(g(k)) ** 2, k)
    assert detected(79, made(0.05, 60.0, 200.0), np.array(0.0)) == pytest.approx(ring, rel=1e-3)


def test_a_wide_beam_averages_over_its_directions():
    lam, beam = wavelength(3e5), 0.02
    g = amplitude(6, 3e5, 12.0)

    def scattered(kappa, angle, tilt):
        """From a direction of the beam by κ into the ring of 40 to 90 mrad."""
        seen = 0.04 / lam <= math.hypot(kappa * math.cos(angle) + tilt, kappa * math.sin(angle)) <= 0.09 / lam
        return kappa * abs(g(kappa)) ** 2 * seen

    total = 0.0
    tilts = np.sqrt((np.arange(12) + 0.5) / 12) * beam / lam
    for tilt in tilts:
        kappa, angle = np.linspace(0, 0.112 / lam, 500), np.linspace(0, 2 * math.pi, 200, endpoint=False)
        values = [[scattered(a, b, tilt) for a in kappa] for b in angle[::4]]
        total += np.trapezoid(np.mean(values, 0), kappa) * 2 * math.pi / len(tilts)
    assert detected(6, made(20.0, 40.0, 90.0), np.array(0.0)) == pytest.approx(total, rel=0.01)


def test_a_beat_by_a_direct_integral():
    lam, q = wavelength(3e5), 1.2
    g = amplitude(14, 3e5, 12.0)

    def product(angle, kappa):
        x, y = kappa * math.cos(angle), kappa * math.sin(angle)
        return kappa * (g(math.hypot(x - q / 2, y)) * np.conj(g(math.hypot(x + q / 2, y)))).real

    value, _ = dblquad(product, 0.06 / lam, 0.15 / lam, 0, 2 * math.pi, epsrel=1e-5)
    # The least beam whose table reaches q.
    beam = 1e3 * q * lam / 2
    assert detected(14, made(beam, 60.0, 150.0), np.array(q)) == pytest.approx(value, rel=0.05)
