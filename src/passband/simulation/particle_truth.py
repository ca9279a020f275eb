"""What counts as particle in a specimen, as its recipe chooses: the outline of the atoms, or the phase of the exit wave."""

import numpy as np
import torch
from ase import Atoms
from scipy import ndimage
from torch import Tensor

from passband.base.frequencies import disc_indices
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.multislice.engine import exit_waves
from passband.specimens import PhaseLabel, Recipe, Specimen, particle_mask

# Vacuum before the first atom of the particles [Å].
_VACUUM = 2.0


def particle_truth(recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
    """Return where the particles of a specimen are by the label of its recipe, on the multislice grid, bool, shape [n, n]."""
    n = config.grid_points(recipe.field_angstrom)
    if not isinstance(recipe.label, PhaseLabel):
        return particle_mask(specimen, n)
    if not specimen.particles:
        return np.zeros((n, n), dtype=bool)
    spectrum = torch.zeros((n, n), dtype=torch.complex64)
    k = disc_indices(config.band_per_angstrom * recipe.field_angstrom)
    spectrum[k[:, 0] % n, k[:, 1] % n] = vacuum_wave(specimen, config)[0]
    phase = np.abs(np.angle(torch.fft.ifft2(spectrum, norm="forward").numpy()))
    shows = (phase > recipe.label.phase_rad).astype(float)
    pixel = recipe.field_angstrom / n
    return np.asarray(ndimage.gaussian_filter(shows, recipe.label.blur_angstrom / pixel, mode="wrap") > 0.5)


def vacuum_wave(specimen: Specimen, config: ExitWaveConfig) -> Tensor:
    """Return the exit wave of the particles alone, at rest in vacuum, complex64, shape [1, K]; the exit plane is the specimen's."""
    own = specimen.particle > 0
    below = max(float(specimen.atoms.positions[own, 2].min()) - _VACUUM, 0.0)
    width, _, height = specimen.atoms.cell.lengths()
    positions, cell = specimen.atoms.positions[own] - [0, 0, below], [width, width, height - below]
    alone = Atoms(specimen.atoms.numbers[own], positions=positions, cell=cell, pbc=True)
    still = config.model_copy(update={"phonon_configurations": 1, "engine": "native"})
    [wave] = exit_waves([alone], still, dict.fromkeys(alone.get_chemical_symbols(), 0.0), [0])
    return torch.from_numpy(wave.coefficients)
