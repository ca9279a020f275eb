"""Exit waves with abTEM (Madsen and Susi, Open Research Europe 1 (2021) 24)."""

from dataclasses import dataclass

import abtem
import dask
import numpy as np
import torch
from ase import Atoms

from passband.errors import BadInputError
from passband.frequencies import disc_indices
from passband.multislice.config import ExitWaveConfig
from passband.seeds import seed_from
from passband.specimen import Recipe, Specimen

_SETTINGS = {
    "device": "cpu",
    "precision": "float32",
    "diagnostics.progress_bar": False,
    # FFTW, abTEM's default, times several algorithms and keeps the fastest: the last digits then differ between runs, and
    # so does every network trained on them. Its fixed choice (FFTW_ESTIMATE) is 2.5 times slower than NumPy's transform.
    "fft": "numpy",
}


@dataclass(frozen=True)
class ExitWave:
    """The kept band of a specimen's exit wave, for each frozen-phonon configuration.

    Attributes:
        coefficients: ψ̂(k) with ψ(r) = Σ_k ψ̂(k) exp(2πi k·r / field), complex64, shape [P, K], k as in
            `frequencies.disc_indices(band · field)`; vacuum is 1 at k = 0.
        lost_intensity: share of the beam that left the multislice's band limit.
        dropped_intensity: share of the beam beyond the kept band.
    """

    coefficients: np.ndarray
    lost_intensity: float
    dropped_intensity: float


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
            seed=[seed_from(seed, i) % 2**32 for i in range(config.phonon_configurations)],
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
    kept_intensity = (spectrum.abs() ** 2).sum((1, 2)).mean().item()
    lost = 1 - kept_intensity
    if lost > 0.05:
        raise BadInputError(
            f"{lost:.1%} of the beam is scattered beyond the band limit, more than 5 %; lower exit_waves.sampling_angstrom from {config.sampling_angstrom:g}"
        )
    k = disc_indices(config.band_per_angstrom * field)
    coefficients = spectrum[:, k[:, 0] % n, k[:, 1] % n]
    dropped = kept_intensity - (coefficients.abs() ** 2).sum(1).mean().item()
    return ExitWave(coefficients.to(torch.complex64).numpy(), lost, dropped)


def specimen_exit_wave(recipe: Recipe, specimen: Specimen, index: int, config: ExitWaveConfig) -> ExitWave:
    """Return the exit wave of specimen `index` of a recipe, with thermal displacements seeded by both names."""
    return exit_wave(specimen.atoms, config, recipe.displacements(), seed_from("phonons", recipe.seed, index))
