"""A specimen as slices of displaced atoms, and what all slices share: the band, propagators, and what an element does to a wave."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from scipy.interpolate import CubicSpline
from torch import Tensor

from passband.base.electron import interaction_parameter, wavelength
from passband.simulation.multislice import deposit
from passband.simulation.multislice.atom import exponent, soft_band
from passband.simulation.multislice.exit_wave import ExitWaveConfig, phonon_seed

# Share of the Nyquist frequency that waves keep, so that the product of wave and transmission does not fold into them.
_BAND = 2 / 3
# Width of the band's soft edge, in units of one over the sampling; abTEM's.
_EDGE = 0.01


@dataclass(frozen=True)
class Slices:
    """Atoms at places [N, 2] [Å], each in one of `count` slices of a thickness [Å], counted from the entrance."""

    places: np.ndarray
    numbers: np.ndarray
    index: np.ndarray
    count: int
    thickness: float


def slice_atoms(
    atoms: Atoms, config: ExitWaveConfig, thermal_displacement_angstrom: dict[str, float], seed: int, configuration: int
) -> Slices:
    """Return displaced atoms of a cell of field × field × height in slices of at most `slice_thickness_angstrom`.

    The displacements, standard deviations per axis by element [Å], are abTEM's for the same seed: one normal draw per
    atom and axis, in the order of the atoms.
    """
    elements, element = np.unique(atoms.numbers, return_inverse=True)
    sigma = np.array([thermal_displacement_angstrom[chemical_symbols[z]] for z in elements])[element]
    draws = np.random.default_rng(phonon_seed(seed, configuration)).normal(size=(len(atoms), 3))
    positions = atoms.positions + sigma[:, None] * draws
    height = float(atoms.cell[2, 2])
    count = max(math.ceil(height / config.slice_thickness_angstrom), 1)
    # An atom on the border of two slices belongs to the later one, whatever the rounding.
    edges = np.cumsum(np.full(count, height / count)) - 1e-12
    index = np.minimum(np.digitize(positions[:, 2], edges), count - 1)
    return Slices(positions[:, :2], atoms.numbers.copy(), index, count, height / count)


class Band:
    """The frequencies that a wave keeps on a grid, and what happens to them in a slice."""

    def __init__(self, field: float, n: int, energy_ev: float):
        """Keep the integer frequencies −half < k < half along each axis of a grid of n points over a field [Å]."""
        self.field, self.n = field, n
        self.wavelength, self.sigma = wavelength(energy_ev), interaction_parameter(energy_ev)
        self.limit, self.edge = _BAND * n / (2 * field), _EDGE * n / field
        self.half = math.ceil(self.limit * field - 1e-9)

    def factor(self, number: int, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        """Return w(q) of one atom over what spreading it did to its spectrum, at integer frequencies [K], [L]: [K, L], complex."""
        q = np.hypot(kx[:, None], ky) / self.field
        spread = deposit.spectrum(self.n)
        w = CubicSpline(*exponent(number, self.sigma, self.limit, self.edge))(q)
        return w * soft_band(q, self.limit, self.edge) / (spread[kx][:, None] * spread[ky] * self.field**2)

    def soft(self, kx: np.ndarray, ky: np.ndarray) -> np.ndarray:
        """Return the band limit over n², which transforms there and back leave, at integer frequencies [K], [L]: [K, L]."""
        return soft_band(np.hypot(kx[:, None], ky) / self.field, self.limit, self.edge) / self.n**2

    def propagator(self, thickness: Tensor, soft: Tensor, kx: Tensor, ky: Tensor) -> Tensor:
        """Return P(q) within a soft band, complex, for the thickness of slices [Å], [C], float64: [C, K, L]."""
        phase = -math.pi * self.wavelength / self.field**2 * (kx[:, None] ** 2 + ky**2) * thickness[:, None, None]
        return torch.polar(soft.expand_as(phase), phase)


def frequencies(n: int) -> np.ndarray:
    """Return the integer frequencies of a grid of n points in the order of its transform."""
    return (np.arange(n) + n // 2) % n - n // 2
