"""Conditions as tensors: the form in which all optics is batched and differentiable."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, cast

import torch
from torch import Tensor

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.conditions import ABERRATIONS, ANGLES, AnyCondition, Condition, StemCondition, StemDetector

#: No shot noise counts as this dose [e/Å²] where a number is needed.
HIGHEST_DOSE = 1e9


@dataclass(frozen=True)
class Parameters:
    """The optical parameters of B conditions, each a tensor of shape [B]."""

    energy_ev: Tensor  #: electron energy [eV]
    coefficients: dict[str, Tensor]  #: C_nm [Å]; a symbol that is absent is zero for all conditions
    angles: dict[str, Tensor]  #: phi_nm [rad], by the symbol of their coefficient (C12, not phi12)
    focal_spread_angstrom: Tensor  #: standard deviation of the focus [Å]
    convergence_mrad: Tensor  #: standard deviation per axis of the illumination angle [mrad]
    aperture_mrad: Tensor  #: semi-angle of the aperture [mrad], inf where there is none
    vibration_angstrom: Tensor  #: standard deviation per axis of the vibration [Å]
    drift_angstrom: Tensor  #: drift as a vector x, y [Å], shape [B, 2]
    dose_per_angstrom2: Tensor  #: electrons per Å², inf where there is no shot noise

    @property
    def finite_dose(self) -> Tensor:
        """The dose [e/Å²], `HIGHEST_DOSE` where there is no shot noise, for what takes its logarithm."""
        return self.dose_per_angstrom2.clamp(max=HIGHEST_DOSE)

    def __len__(self) -> int:
        return len(self.energy_ev)

    def split(self, size: int) -> "list[Parameters]":
        """Return the conditions in pieces of at most that many."""
        return [self._each(itemgetter(slice(at, at + size))) for at in range(0, len(self), size)]

    def repeat(self, times: int) -> "Parameters":
        """Return a single condition several times."""
        return self._each(lambda v: v.expand(times, *v.shape[1:]))

    def distinct_optics(self) -> "tuple[Parameters, Tensor] | None":
        """Return the conditions whose optics differ, and for each of all the index of its own [B]; None if all do, or have gradients.

        Doses do not count: those of the conditions returned are of no use.
        """
        values = [v for name, v in vars(self).items() if name != "dose_per_angstrom2"]
        tensors = [t for v in values for t in (v.values() if isinstance(v, dict) else [v])]
        if any(t.requires_grad for t in tensors):
            return None
        rows = torch.cat([t.reshape(len(self), -1) for t in tensors], dim=1).tolist()
        index = {row: i for i, row in reversed(list(enumerate(map(tuple, rows))))}
        if len(index) == len(self):
            return None
        first = sorted(index.values())
        place = {i: n for n, i in enumerate(first)}
        chosen = torch.tensor(first, device=self.energy_ev.device)
        return self._each(lambda v: v[chosen]), torch.tensor(
            [place[index[tuple(row)]] for row in rows], device=chosen.device
        )

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Parameters":
        changed: dict[str, Any] = {}
        for name, value in vars(self).items():
            changed[name] = {s: change(v) for s, v in value.items()} if isinstance(value, dict) else change(value)
        return Parameters(**changed)

    @property
    def wavelength(self) -> Tensor:
        """Wavelength [Å], shape [B]."""
        return wavelength(self.energy_ev)


@dataclass(frozen=True)
class ProbeParameters(Parameters):
    """The parameters of B STEM conditions: those of their lens (`StemCondition.lens`), whose aperture forms the probe, and their detectors.

    `vibration_angstrom` is the size of the source, `focal_spread_angstrom` an average over probes, not an envelope.
    """

    detectors: tuple[StemDetector, ...]

    def repeat(self, times: int) -> "ProbeParameters":
        """Return a single condition several times."""
        return self.picked(torch.zeros(times, dtype=torch.long))

    def distinct_optics(self) -> None:
        """Return None: all are taken to differ."""
        return

    def picked(self, which: Tensor) -> "ProbeParameters":
        """Return some of the conditions, by index [B′]."""
        lens = self._lens()._each(itemgetter(which))
        return ProbeParameters(**vars(lens), detectors=tuple(self.detectors[i] for i in which.tolist()))

    def refocused(self, change: Tensor) -> "ProbeParameters":
        """Return the conditions with C10 changed by so much [Å], [B]: the probe at that depth."""
        c10 = self.coefficients.get("C10", torch.zeros_like(self.energy_ev)) + change
        return replace(self, coefficients={"C10": c10} | {s: v for s, v in self.coefficients.items() if s != "C10"})

    def _lens(self) -> Parameters:
        return Parameters(**{name: value for name, value in vars(self).items() if name != "detectors"})

    def _each(self, change: Callable[[Any], Any]) -> "ProbeParameters":
        return ProbeParameters(**vars(self._lens()._each(change)), detectors=change(self.detectors))


def stack(conditions: Sequence[AnyCondition], dtype: torch.dtype = torch.float64) -> Parameters:
    """Return the parameters of B ≥ 1 conditions, each a tensor of shape [B]; `ProbeParameters` of STEM conditions.

    The aberration phase needs float64 where defocus or Cs is large. A BadInputError refuses to mix HRTEM with STEM.
    """
    scanning = [c for c in conditions if isinstance(c, StemCondition)]
    if not scanning:
        return _stack(cast(Sequence[Condition], conditions), dtype)
    if len(scanning) < len(conditions):
        raise BadInputError("conditions of HRTEM and of STEM cannot be compared", remedy="give those of one modality")
    return ProbeParameters(
        **vars(_stack([c.lens for c in scanning], dtype)), detectors=tuple(c.detector for c in scanning)
    )


def _stack(conditions: Sequence[Condition], dtype: torch.dtype) -> Parameters:
    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=dtype)

    def field(name: str) -> Tensor:
        values = [getattr(c, name) for c in conditions]
        return column([math.inf if value is None else value for value in values])

    symbols = [s for s in ABERRATIONS if any(s in c.aberrations for c in conditions)]
    drifts = [(c.drift_angstrom, c.drift_angle_rad) for c in conditions]
    return Parameters(
        energy_ev=field("energy_ev"),
        coefficients={s: column([c.aberrations.get(s, 0.0) for c in conditions]) for s in symbols},
        angles={s: column([c.aberrations.get(ANGLES[s], 0.0) for c in conditions]) for s in symbols if s in ANGLES},
        focal_spread_angstrom=field("focal_spread_angstrom"),
        convergence_mrad=field("convergence_mrad"),
        aperture_mrad=field("aperture_mrad"),
        vibration_angstrom=field("vibration_angstrom"),
        drift_angstrom=torch.tensor([[s * math.cos(a), s * math.sin(a)] for s, a in drifts], dtype=dtype),
        dose_per_angstrom2=field("dose_per_angstrom2"),
    )
