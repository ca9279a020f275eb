"""Atoms of one frozen-phonon configuration, each assigned to a slice."""

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from passband.base.identity import seed_from
from passband.simulation.multislice.config import ExitWaveConfig


@dataclass(frozen=True)
class Slices:
    """Atoms in slices of equal thickness.

    Attributes:
        places: x and y [Å], shape [N, 2].
        numbers: atomic numbers, shape [N].
        index: slice of each atom, from the entrance, shape [N].
        count: number of slices.
        thickness: of a slice [Å].
    """

    places: np.ndarray
    numbers: np.ndarray
    index: np.ndarray
    count: int
    thickness: float


def phonon_seed(seed: int, configuration: int) -> int:
    """Return the seed of one frozen-phonon configuration of a specimen; NumPy and abTEM take 32 bits."""
    return seed_from(seed, configuration) % 2**32


def slice_atoms(
    atoms: Atoms,
    config: ExitWaveConfig,
    thermal_displacement_angstrom: dict[str, float],
    seed: int,
    configuration: int,
) -> Slices:
    """Return displaced atoms in slices of at most `slice_thickness_angstrom`.

    The displacements are abTEM's for the same seed: one normal draw per atom and axis, in the order of the atoms.

    Args:
        atoms: in a cell of field × field × height.
        config: multislice settings.
        thermal_displacement_angstrom: standard deviation per axis, by element [Å].
        seed: of the specimen's displacements.
        configuration: which frozen-phonon configuration.
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
