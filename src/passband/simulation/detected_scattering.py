"""What an atom scatters into an annular detector, for each beat q of the probe: the map that an incoherent STEM image blurs.

An atom at rest scatters a plane wave by g(k) = F[exp(iσ_e v) − 1], v its projected potential. Of a probe, the detector sees

    ∫∫ P(k) P*(k − q) [ ∫ D(κ) g(κ − k) g*(κ − k + q) d²κ ] d²k,

and the bracket is taken at its mean over the pupil, O(q) = ∫ D̄(κ) g(κ − q/2) g*(κ + q/2) d²κ with D̄(κ) the share of the pupil from which a
scattering by κ ends on the detector. That is exact for the total, ∫I(r) d²r = O(0), and the object function of Jesson and Pennycook
(Proc. R. Soc. A 441 (1993) 261) where the detector is large. g includes elastic scattering of all orders by one atom.
Source of the potential: Lobato and Van Dyck, Acta Cryst. A70 (2014) 636.
"""

import functools
import math

import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.interpolate import CubicSpline
from scipy.special import j0

from passband.base.electron import interaction_parameter, wavelength
from passband.conditions import StemCondition
from passband.simulation.multislice.atom import projected_potential

# Radii of the quadrature [Å]: panels that grow inside the cusp, then equal ones until the potential has died away.
_INNER, _FLAT, _STEP, _OUTER = 1e-7, 0.05, 0.04, 8.0
# Spacing of the table of g(k) [1/Å], nodes of the integral over κ along the radius and around, and of the table of O(q).
_K_STEP, _RADII, _AROUND, _BEATS = 0.02, 160, 64, 33


def detected(number: int, condition: StemCondition, q: np.ndarray) -> np.ndarray:
    """Return O(q) [Å²] of an atom for the detector of a condition, at |q| [1/Å] of any shape."""
    d = condition.detector
    outer = d.outer_mrad or math.inf
    places, values = _table(number, condition.energy_ev, condition.convergence_semiangle_mrad, d.inner_mrad, outer)
    return np.asarray(CubicSpline(places, values)(np.minimum(q, places[-1])))


@functools.lru_cache(maxsize=128)
def _table(number: int, energy_ev: float, beam: float, inner: float, outer: float) -> tuple[np.ndarray, np.ndarray]:
    """Return |q| and O(q) up to the end of the probe's transfer; angles in mrad."""
    scale = 1e-3 / wavelength(energy_ev)
    a, low, high = scale * beam, scale * inner, scale * outer
    q = np.linspace(0, 2 * a, _BEATS)
    # A detector without an end: nearly all is scattered to less than 20 1/Å.
    nodes, weights = leggauss(_RADII)
    first, last = max(low - a, 0.0), min(high + a, 20.0)
    kappa = first + (last - first) * (nodes + 1) / 2
    share = _overlap(kappa, a, high) - _overlap(kappa, a, low)
    weight = share * kappa * weights * (last - first) / 2 * (2 * math.pi / _AROUND)
    angle = 2 * math.pi * (np.arange(_AROUND) + 0.5) / _AROUND
    g = amplitude(number, energy_ev, last + a)
    x, y = kappa[:, None] * np.cos(angle), kappa[:, None] * np.sin(angle)
    values = [
        float((weight[:, None] * (g(np.hypot(x - b / 2, y)) * g(np.hypot(x + b / 2, y)).conj()).real).sum()) for b in q
    ]
    return q, np.array(values)


def amplitude(number: int, energy_ev: float, k_max: float) -> CubicSpline:
    """Return g(k) [Å²], complex, of one atom as a function of |k| up to k_max [1/Å]."""
    borders = np.concatenate([[0], np.geomspace(_INNER, _FLAT, 24), np.arange(_FLAT + _STEP, _OUTER, _STEP)])
    nodes, weights = leggauss(6)
    half = np.diff(borders)[:, None] / 2
    r, dr = (borders[:-1, None] + half * (nodes + 1)).ravel(), (half * weights).ravel()
    scattered = np.expm1(1j * interaction_parameter(energy_ev) * projected_potential(number, r)) * 2 * math.pi * r * dr
    k = np.arange(0, k_max + 2 * _K_STEP, _K_STEP)
    return CubicSpline(k, j0(2 * math.pi * k[:, None] * r) @ scattered)


def _overlap(distance: np.ndarray, a: float, b: float) -> np.ndarray:
    """Return the share of a disc of radius a that lies in one of radius b, so far apart."""
    if b == 0:
        return np.zeros_like(distance)
    if math.isinf(b):
        return np.ones_like(distance)
    d = np.maximum(distance, 1e-12)
    u = np.clip((d**2 + a**2 - b**2) / (2 * d * a), -1, 1)
    v = np.clip((d**2 + b**2 - a**2) / (2 * d * b), -1, 1)
    kite = np.sqrt(np.maximum((a + b - d) * (d + a - b) * (d - a + b) * (d + a + b), 0)) / 2
    return np.asarray((a**2 * np.arccos(u) + b**2 * np.arccos(v) - kite) / (math.pi * a**2))
