"""Conditions as tensors: the form in which all optics is batched and differentiable."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from passband.base.electron import wavelength
from passband.conditions import ABERRATIONS, ANGLES, Condition

#: No shot noise counts as this dose [e/Å²] where a number is needed.
HIGHEST_DOSE = 1e9


@dataclass(frozen=True)
class Parameters:
    """The optical parameters of B conditions, each a tensor of shape [B].

    Attributes:
        energy_ev: electron energy [eV].
        coefficients: C_nm [Å]; a symbol that is absent is zero for all conditions.
        angles: phi_nm [rad], by the symbol of their coefficient (C12, not phi12).
        focal_spread_angstrom: standard deviation of the focus [Å].
        convergence_mrad: standard deviation per axis of the illumination angle [mrad].
        aperture_mrad: semi-angle of the aperture [mrad], inf where there is none.
        vibration_angstrom: standard deviation per axis of the vibration [Å].
        drift_angstrom: drift as a vector x, y [Å], shape [B, 2].
        dose_per_angstrom2: electrons per Å², inf where there is no shot noise.
    """

    energy_ev: Tensor
    coefficients: dict[str, Tensor]
    angles: dict[str, Tensor]
    focal_spread_angstrom: Tensor
    convergence_mrad: Tensor
    aperture_mrad: Tensor
    vibration_angstrom: Tensor
    drift_angstrom: Tensor
    dose_per_angstrom2: Tensor

    @property
    def finite_dose(self) -> Tensor:
        """The dose [e/Å²], `HIGHEST_DOSE` where there is no shot noise, for what takes its logarithm."""
        return self.dose_per_angstrom2.clamp(max=HIGHEST_DOSE)

    def __len__(self) -> int:
        """Return the number of conditions."""
        return len(self.energy_ev)

    def split(self, size: int) -> "list[Parameters]":
        """Return the conditions in pieces of at most that many."""
        return [self._each(partial(_part, start=start, size=size)) for start in range(0, len(self), size)]

    def repeat(self, times: int) -> "Parameters":
        """Return a single condition several times."""
        return self._each(lambda v: v.expand(times, *v.shape[1:]))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Parameters":
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {
            name: {s: change(v) for s, v in value.items()} if isinstance(value, dict) else change(value)
            for name, value in values.items()
        }
        return Parameters(**changed)

    @property
    def wavelength(self) -> Tensor:
        """Wavelength [Å], shape [B]."""
        return wavelength(self.energy_ev)


def _part(values: Tensor, start: int, size: int) -> Tensor:
    return values[start : start + size]


def stack(conditions: Sequence[Condition], dtype: torch.dtype = torch.float64) -> Parameters:
    """Return the parameters of B ≥ 1 conditions, each a tensor of shape [B].

    The aberration phase needs float64 where defocus or Cs is large.
    """

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=dtype)

    symbols = [s for s in ABERRATIONS if any(s in c.aberrations for c in conditions)]
    return Parameters(
        energy_ev=column([c.energy_ev for c in conditions]),
        coefficients={s: column([c.aberrations.get(s, 0.0) for c in conditions]) for s in symbols},
        angles={s: column([c.aberrations.get(ANGLES[s], 0.0) for c in conditions]) for s in symbols if s in ANGLES},
        focal_spread_angstrom=column([c.focal_spread_angstrom for c in conditions]),
        convergence_mrad=column([c.convergence_mrad for c in conditions]),
        aperture_mrad=column([math.inf if c.aperture_mrad is None else c.aperture_mrad for c in conditions]),
        vibration_angstrom=column([c.vibration_angstrom for c in conditions]),
        drift_angstrom=torch.stack(
            [
                column([c.drift_angstrom * math.cos(c.drift_angle_rad) for c in conditions]),
                column([c.drift_angstrom * math.sin(c.drift_angle_rad) for c in conditions]),
            ],
            1,
        ),
        dose_per_angstrom2=column(
            [math.inf if c.dose_per_angstrom2 is None else c.dose_per_angstrom2 for c in conditions]
        ),
    )
