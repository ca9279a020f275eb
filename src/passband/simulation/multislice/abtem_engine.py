"""Exit waves with abTEM (Madsen and Susi, Open Research Europe 1 (2021) 24)."""

import abtem
import dask
import numpy as np
import torch
from ase import Atoms

from passband.base.frequencies import disc_indices
from passband.simulation.multislice.exit_wave import ExitWave, ExitWaveConfig, phonon_seed, stored_part, stored_wave

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
    """Return the wave at the far face of the cell of field × field × height, from which defocus is measured.

    Independent atoms (Lobato and Van Dyck), infinite projection, frozen phonons: displacements per axis, by element [Å]. Errors are
    those of `stored_wave`.
    """
    field = float(atoms.cell[0, 0])
    n = config.grid_points(field)
    with abtem.config.set(_SETTINGS), dask.config.set(scheduler="single-threaded"):
        count, thickness = config.phonon_configurations, config.slice_thickness_angstrom
        seeds = [phonon_seed(seed, i) for i in range(count)]
        phonons = abtem.FrozenPhonons(atoms, count, thermal_displacement_angstrom, seed=seeds)
        potential = abtem.Potential(
            phonons, gpts=n, slice_thickness=thickness, parametrization="lobato", projection="infinite"
        )
        waves = abtem.PlaneWave(energy=config.energy_ev).multislice(potential).compute().array
    psi = torch.from_numpy(np.atleast_3d(waves).reshape(-1, n, n)).to(torch.complex128)
    spectrum = torch.fft.fft2(psi, norm="forward")
    return stored_wave(*stored_part(spectrum, disc_indices(config.band_per_angstrom * field)), config)
