"""Spectral weights w(|q|) of the metrics."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from passband.base.electron import wavelength
from passband.metrics.band import Spectrum

_BOHR_ANGSTROM = 0.529177
_CARBON_ATOMS_PER_CUBIC_ANGSTROM = 0.1003  # 2.0 g/cm³


def uniform(q: Tensor) -> Tensor:
    """Return 1: every two-dimensional frequency counts alike."""
    return torch.ones_like(q)


def wentzel_scattering_factor(q: Tensor, atomic_number: int) -> Tensor:
    """Return f_e(q) = 2 Z R² / (a_H (1 + (2π R q)²)) [Å], R = a_H Z^(−1/3), the screened Coulomb atom.

    Source: Reimer and Kohl, Transmission Electron Microscopy (2008), section 5.1.
    """
    radius = _BOHR_ANGSTROM * atomic_number ** (-1 / 3)
    return 2 * atomic_number * radius**2 / (_BOHR_ANGSTROM * (1 + (2 * math.pi * radius * q) ** 2))


def fcc_structure_factor(
    lattice_constant_angstrom: float = 4.078, atomic_number: int = 79, diameter_angstrom: float = 20.0
) -> Spectrum:
    """Return the kinematic power of randomly turned fcc crystals in a plane through the origin of q, gold by default.

    Each reflection g lies on a sphere; a plane cuts it in a ring of mean density m |F|² / (4π g²), whose FWHM is
    1/diameter.
    """
    h = torch.cartesian_prod(*[torch.arange(-8, 9)] * 3)
    parity = h % 2
    h = h[(parity == parity[:, :1]).all(1) & (h != 0).any(1)]
    g, count = torch.unique(h.square().sum(1).double().sqrt() / lattice_constant_angstrom, return_counts=True)
    strength = count * wentzel_scattering_factor(g, atomic_number) ** 2 / (4 * math.pi * g**2)
    width = 1 / (2.3548 * diameter_angstrom)

    def spectrum(q: Tensor) -> Tensor:
        total = torch.zeros_like(q)
        for place, height in zip(g.tolist(), strength.tolist(), strict=True):
            total = total + height * torch.exp(-0.5 * ((q - place) / width) ** 2)
        return total

    return spectrum


def carbon_film(energy_ev: float, thickness_angstrom: float = 25.0) -> Spectrum:
    """Return the power spectral density n λ² f² [Å²] of the phase of randomly placed carbon atoms, 2.0 g/cm³."""
    relativistic = 1 + energy_ev / 510998.95
    scale = _CARBON_ATOMS_PER_CUBIC_ANGSTROM * thickness_angstrom * (wavelength(energy_ev) * relativistic) ** 2
    return lambda q: scale * wentzel_scattering_factor(q, 6) ** 2


def tabulated(q_per_angstrom: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray) -> Spectrum:
    """Return a spectrum that runs linearly between tabulated values, such as the mean power of stored exit waves."""
    places, heights = np.asarray(q_per_angstrom, float), np.asarray(values, float)
    return lambda q: torch.from_numpy(np.interp(q.numpy(), places, heights))


@dataclass(frozen=True)
class Weighting:
    """A weight that metrics can have: w(|q|), from the band's radius [1/Å] and the power spectrum of the exit waves."""

    symbol: str
    meaning: str
    spectrum: Callable[[float, Spectrum], Spectrum]


Weight = Literal["uniform", "radial", "core", "structure_factor", "exit_wave"]
#: Every weight, by name.
WEIGHTS: dict[Weight, Weighting] = {
    "uniform": Weighting("flat", "whole band, flat", lambda q_max, power: uniform),
    "radial": Weighting("1/q", "every |q| weighted equally", lambda q_max, power: lambda q: 1 / q),
    "core": Weighting("inner", "inner half of the band", lambda q_max, power: lambda q: (q <= q_max / 2).to(q.dtype)),
    "structure_factor": Weighting("F²", "weighted by gold's reflections", lambda q_max, power: fcc_structure_factor()),
    "exit_wave": Weighting("ψ", "weighted by what the specimen scatters", lambda q_max, power: power),
}
