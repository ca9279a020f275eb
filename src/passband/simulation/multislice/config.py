"""How exit waves are computed and which part of them is stored."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ExitWaveConfig(BaseModel):
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

    model_config = ConfigDict(frozen=True, extra="forbid")

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

    def grid_points(self, field_angstrom: float) -> int:
        """Return the samples along a side of the multislice grid, at most `sampling_angstrom` apart."""
        return math.ceil(field_angstrom / self.sampling_angstrom - 1e-9)
