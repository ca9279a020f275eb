"""Exit waves with abTEM (Madsen and Susi, Open Research Europe 1 (2021) 24)."""

import abtem
import dask
import numpy as np
import torch
from ase import Atoms

from passband.base.frequencies import disc_indices
from passband.simulation.multislice.config import ExitWaveConfig
from passband.simulation.multislice.exit_wave import ExitWave, keep_band
from passband.simulation.multislice.slices import phonon_seed

_SETTINGS = {
    "device": "cpu",
    "precision": "float32",
    "diagnostics.progress_bar": False,
    # FFTW, abTEM's default, times several algorithms and keeps the fastest: the last digits then differ between runs, and
    # so does every network trained on them. Its fixed choice (FFTW_ESTIMATE) is 2.5 times slower than NumPy's transform.
    "fft": "numpy",
}


def exit_wave(
    atoms: Atoms, config: ExitWaveConfig, thermal_displacement_angstrom: dict[str, float], seed: int
) -> ExitWave:
    """Return the wave at the far face of the atoms' cell, from which defocus is measured.

    Independent atoms (Lobato and Van Dyck), infinite projection, frozen phonons.

    Args:
        atoms: in a cell of field × field × height; the beam runs along +z.
        config: multislice settings.
        thermal_displacement_angstrom: standard deviation per axis, by element [Å].
        seed: of the thermal displacements.

    Raises:
        BadInputError: if more than 5 % of the beam is scattered beyond the band limit.
    """
    field = float(atoms.cell[0, 0])
    n = config.grid_points(field)
    with (
        abtem.config.set(_SETTINGS),
        dask.config.set(scheduler="single-threaded"),
    ):
        phonons = abtem.FrozenPhonons(
            atoms,
            config.phonon_configurations,
            thermal_displacement_angstrom,
            seed=[phonon_seed(seed, i) for i in range(config.phonon_configurations)],
        )
        potential = abtem.Potential(
            phonons,
            gpts=n,
            slice_thickness=config.slice_thickness_angstrom,
            parametrization="lobato",
            projection="infinite",
        )
        waves = abtem.PlaneWave(energy=config.energy_ev).multislice(potential).compute().array
    psi = torch.from_numpy(np.atleast_3d(waves).reshape(-1, n, n)).to(torch.complex128)
    spectrum = torch.fft.fft2(psi, norm="forward")
    return keep_band(spectrum, disc_indices(config.band_per_angstrom * field), config)
