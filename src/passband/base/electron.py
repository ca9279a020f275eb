"""Relativistic electrons: wavelength and interaction parameter, from scipy's CODATA constants."""

import math
from typing import TYPE_CHECKING, TypeVar, cast

from scipy import constants

if TYPE_CHECKING:
    from torch import Tensor

Energy = TypeVar("Energy", float, "Tensor")

_REST_ENERGY_EV = constants.m_e * constants.c**2 / constants.e
_HC_EV_ANGSTROM = constants.h * constants.c / constants.e * 1e10


def wavelength(energy_ev: Energy) -> Energy:
    """Return the relativistic de Broglie wavelength [Å] of a kinetic energy [eV], a number or a tensor of any shape.

    Source: Kirkland, Advanced Computing in Electron Microscopy (2020), eq. 2.5.
    """
    return cast(Energy, _HC_EV_ANGSTROM / (energy_ev * (energy_ev + 2 * _REST_ENERGY_EV)) ** 0.5)


def interaction_parameter(energy_ev: Energy) -> Energy:
    """Return σ_e = 2π m_rel e λ / h² [rad/(V·Å)] of a kinetic energy [eV], a number or a tensor of any shape.

    Source: Kirkland (2020), eq. 5.6.
    """
    relativistic = (_REST_ENERGY_EV + energy_ev) / (2 * _REST_ENERGY_EV + energy_ev)
    return cast(Energy, 2 * math.pi / (wavelength(energy_ev) * energy_ev) * relativistic)


def chromatic_factor(energy_ev: float) -> float:
    """Return k = (1 + E/E₀) / (1 + E/2E₀): the relative change of the relativistic voltage over that of the voltage.

    Source: Reimer and Kohl, Transmission Electron Microscopy (2008), chromatic aberration.
    """
    return (1 + energy_ev / _REST_ENERGY_EV) / (1 + energy_ev / (2 * _REST_ENERGY_EV))
