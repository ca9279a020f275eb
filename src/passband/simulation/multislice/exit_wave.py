"""How exit waves are computed, and which part of them is stored."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from passband.base.errors import BadInputError
from passband.base.frozen_model import FrozenModel
from passband.base.identity import seed_from

# Share of the beam beyond the band limit from which a wave is refused.
_LOST = 0.05


class ExitWaveConfig(FrozenModel):
    """Multislice settings.

    Attributes:
        energy_ev: electron energy [eV].
        sampling_angstrom: grid of the multislice at most [Å].
        slice_thickness_angstrom: at most [Å].
        phonon_configurations: frozen-phonon configurations of each specimen.
        band_per_angstrom: spatial frequencies of the wave that are stored [1/Å]. Beyond 1.5 1/Å a focal spread of 20 Å at
            300 kV leaves 2 % of a beam; a narrower band changes images (1.25 1/Å: by 2 % of their contrast).
        engine: native, or abtem as a reference: slower, and at the same sampling farther from the limit of fine grids.
    """

    energy_ev: float = Field(default=300e3, ge=10e3, le=2e6, strict=True)
    sampling_angstrom: float = Field(default=0.2, gt=0, le=0.5, strict=True)
    slice_thickness_angstrom: float = Field(default=2.0, gt=0, le=10, strict=True)
    phonon_configurations: int = Field(default=2, ge=1, le=1000, strict=True)
    band_per_angstrom: float = Field(default=1.5, gt=0, strict=True)
    engine: Literal["native", "abtem"] = "native"

    @model_validator(mode="after")
    def _band_within_grid(self) -> "ExitWaveConfig":
        limit = 1 / (3 * self.sampling_angstrom)
        if self.band_per_angstrom > limit * (1 + 1e-9):
            raise ValueError(
                f"band_per_angstrom {self.band_per_angstrom:g} 1/Å is beyond {limit:.4g} 1/Å, two thirds of the Nyquist frequency at "
                f"sampling_angstrom {self.sampling_angstrom:g}; use a band up to that or a sampling of at most {1 / (3 * self.band_per_angstrom):.4g} Å"
            )
        return self

    @property
    def targets(self) -> "ExitWaveConfig":
        """The settings that masks and other targets are made with: these."""
        return self

    def grid_points(self, field_angstrom: float) -> int:
        """Return the samples along a side of the multislice grid, at most `sampling_angstrom` apart."""
        return math.ceil(field_angstrom / self.sampling_angstrom - 1e-9)


@dataclass(frozen=True)
class ExitWave:
    """The stored band of a specimen's exit wave, for each frozen-phonon configuration.

    Attributes:
        coefficients: ψ̂(k) with ψ(r) = Σ_k ψ̂(k) exp(2πi k·r / field), complex64, shape [P, K], k as in
            `frequencies.disc_indices(band · field)`; vacuum is 1 at k = 0.
        lost_intensity: share of the beam that left the multislice's band limit.
        dropped_intensity: share of the beam beyond the stored band.
    """

    coefficients: np.ndarray
    lost_intensity: float
    dropped_intensity: float


def stored_part(spectra: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is stored of spectra [C, n, n], at integer frequencies k [K, 2]: complex64, [C, K].

    And the intensities Σ|ψ̂|² of the whole spectra and of the part, summed in double precision, [C, 2].
    """
    n = spectra.shape[-1]
    part = spectra[:, k[:, 0] % n, k[:, 1] % n]
    norms = [
        torch.linalg.vector_norm(torch.view_as_real(x).flatten(1), dim=1, dtype=torch.float64) for x in (spectra, part)
    ]
    return part.to(torch.complex64), torch.stack(norms, 1) ** 2


def stored_wave(part: Tensor, intensities: Tensor, config: ExitWaveConfig) -> ExitWave:
    """Return the wave of a specimen from the stored parts and intensities of its configurations.

    Raises:
        BadInputError: if more than 5 % of the beam was scattered beyond the band limit.
    """
    whole, stored = intensities.mean(0).tolist()
    lost = 1 - whole
    if lost > _LOST:
        raise BadInputError(
            f"{lost:.1%} of the beam is scattered beyond the band limit, more than 5 %; lower exit_waves.sampling_angstrom from {config.sampling_angstrom:g}"
        )
    return ExitWave(part.numpy(), lost, whole - stored)


def phonon_seed(seed: int, configuration: int) -> int:
    """Return the seed of one frozen-phonon configuration of a specimen; NumPy and abTEM take 32 bits."""
    return seed_from(seed, configuration) % 2**32
