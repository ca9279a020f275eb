"""The applicability domain of a model: the specimens and the range of conditions that it was calibrated on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from passband.base.electron import wavelength
from passband.base.errors import BadInputError, parameter
from passband.conditions import ABERRATIONS, Condition
from passband.models.card import ModelCard, Specimens
from passband.optics import Parameters, motion_envelope, spatial_envelope, stack, temporal_envelope
from passband.verdicts.features import as_measured, magnitude
from passband.verdicts.statements import Statement

# Phase at the band's edge that an aberration may add beyond its calibrated range [rad].
_PHASE = 0.3
# Share of a calibrated range that a value may lie beyond it: drawn conditions do not reach its ends.
SLACK = 0.05
# Change of the transfer within the band that a focal spread, convergence or motion outside its calibrated range may make.
_TRANSFER = 0.1
# Relative difference of energies that are the same.
_ENERGY = 0.01

Envelope = Callable[[Parameters, Tensor, Tensor], Tensor]
# Envelopes of the transfer by their parameter.
_ENVELOPES: dict[str, Envelope] = {
    "focal_spread_angstrom": temporal_envelope,
    "vibration_angstrom": motion_envelope,
    "convergence_mrad": spatial_envelope,
    "drift_angstrom": motion_envelope,
}


@dataclass(frozen=True)
class SpecimenInfo:
    """What a user knows of the specimen; None is unknown, and then assumed to be as in the calibration.

    Attributes:
        elements: of the particles.
        support: material of the film, or none.
        thickness_angstrom: of the film [Å].
        diameter_angstrom: of the particles [Å].
    """

    elements: tuple[str, ...] | None = None
    support: str | None = None
    thickness_angstrom: float | None = None
    diameter_angstrom: float | None = None

    def __post_init__(self) -> None:
        """Write elements as the calibration does; refuse lengths that are none."""
        elements = (self.elements,) if isinstance(self.elements, str) else self.elements
        if elements is not None:
            object.__setattr__(self, "elements", tuple(element.capitalize() for element in elements))
        for name in ("thickness_angstrom", "diameter_angstrom"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise BadInputError(f"{parameter(name)} {value} is no length; give Å above zero", value=value)


_FIELDS = tuple(field.name for field in fields(SpecimenInfo))


@dataclass(frozen=True)
class Domain:
    """The applicability domain of a model, whose verdicts are calibrated on these conditions."""

    card: ModelCard
    conditions: tuple[Any, ...]

    def seen(self, condition: Any) -> Any:
        """Return a condition as the network sees it."""
        return as_measured(condition, self.card)

    @cached_property
    def measured(self) -> tuple[Any, ...]:
        """The calibration conditions as the network sees them."""
        return tuple(self.seen(c) for c in self.conditions)

    @cached_property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Calibrated range of each aberration and envelope parameter."""
        values = {symbol: [magnitude(c, symbol) for c in self.measured] for symbol in ABERRATIONS}
        values |= {name: [getattr(c, name) for c in self.measured] for name in _ENVELOPES}
        return {name: (min(v), max(v)) for name, v in values.items()}

    @property
    def energy_ev(self) -> float:
        """Energy of all calibration conditions [eV]; of the first, where there are several."""
        return float(self.conditions[0].energy_ev)

    @cached_property
    def energies_ev(self) -> tuple[float, ...]:
        """Energies of the calibration conditions [eV], rising: one in HRTEM, where exit waves belong to an energy."""
        return tuple(sorted({float(c.energy_ev) for c in self.conditions}))

    @property
    def specimens(self) -> Specimens:
        """The specimens that the model was calibrated on."""
        return self.card.scored_on or self.card.specimens

    @property
    def behind_angstrom(self) -> float:
        """Usual distance of the exit plane behind the film's middle [Å]: conditions count defocus from the former, rings from the latter."""
        film, particles = self.specimens.thickness_angstrom, self.specimens.diameter_angstrom
        return (0.0 if film is None else sum(film) / 4) + (0.0 if particles is None else sum(particles) / 2)

    def specimen_objections(self, claim: SpecimenInfo) -> list[Statement]:
        """Return what of a specimen lies outside the domain; BadInputError for an unknown element or support."""
        known, result = self.specimens, []
        if claim.elements or claim.support is not None:
            from passband.specimens.crystals import check_element
            from passband.specimens.substrates import check_support

            for element in claim.elements or ():
                check_element(element)
            if claim.support is not None:
                check_support(claim.support, *([known.support] if known.support else []))
        for name in _FIELDS:
            value, limit = getattr(claim, name), getattr(known, name)
            if name == "elements":
                fits = set(value or ()) <= set(limit)
            elif name == "support":
                fits = str(value).lower() == str(limit or "none").lower()
            else:
                fits = limit is None or value is None or limit[0] <= value <= limit[1]
            if value is not None and not fits:
                result.append(Statement("specimen", name, value, limit))
        return result

    def assumptions(self, claim: SpecimenInfo) -> list[Statement]:
        """Return what a verdict assumes of the specimen where the user gives no information."""
        known = {name: getattr(self.specimens, name) for name in _FIELDS if getattr(claim, name) is None}
        return [Statement("assumed", n, value) for n, value in known.items() if value is not None or n == "support"]

    def energy_objections(self, energy_ev: float | None) -> list[Statement]:
        """Return whether an energy differs from the calibrated ones; an unknown one does not."""
        if energy_ev is None or any(abs(energy_ev / known - 1) <= _ENERGY for known in self.energies_ev):
            return []
        return [Statement("energy", "energy_ev", energy_ev, self.energies_ev)]

    def objections(self, condition: Any) -> list[Statement]:
        """Return what of a condition lies outside the domain."""
        if objections := self.energy_objections(condition.energy_ev):
            return objections
        seen = self.seen(condition)
        # Convergence blurs more, the larger the aberrations are: judge it with those inside their ranges.
        within = {s: float(np.clip(v, *self.ranges[s])) for s, v in seen.aberrations.items() if s in self.ranges}
        clipped = seen.model_copy(update={"aberrations": {**seen.aberrations, **within}})
        return [
            *self.pixel_objections(condition),
            *self._aberrations(seen),
            *self._aperture(seen),
            *self._coherence(clipped, blurred=condition.detector.mtf is not None),
            *self._noise(seen, counted=condition.detector.dqe is not None),
            *self._background(condition),
        ]

    def pixel_objections(self, condition: Any) -> list[Statement]:
        """Return whether the pixels of a condition's images lie outside those that the model takes."""
        (low, high), pixel = self.card.pixel_band_angstrom, condition.pixel_size_angstrom
        if low <= pixel <= high:
            return []
        return [outside("pixel_size_angstrom", pixel, (low, high), f"{low:g} to {high:g} Å", what="pixel size")]

    def reference(self) -> Condition:
        """Return the reference condition: constant aberrations, medians otherwise."""
        first, others = self.conditions[0], self.conditions
        constant = {n: v for n, v in first.aberrations.items() if all(c.aberrations.get(n) == v for c in others)}
        doses = [c.dose_per_angstrom2 for c in others if c.dose_per_angstrom2 is not None]
        names = (*_ENVELOPES, "contrast", "background")
        medians = {name: float(np.median([getattr(c, name) for c in others])) for name in names}
        dose = float(np.median(doses)) if doses else None
        return first.model_copy(update={"aberrations": constant, "dose_per_angstrom2": dose, **medians})

    def spherical(self) -> tuple[float, bool]:
        """Return the calibrated C30 [Å], and whether it is known well enough to tell the sign of the defocus."""
        values = [c.aberrations.get("C30", 0.0) for c in self.conditions]
        middle = 0.0 if min(values) < 0 < max(values) else float(np.median(values))
        return middle, self._phase(3, max(abs(v - middle) for v in values)) <= _PHASE

    def rim(self, seen: Any) -> tuple[float, float]:
        """Return the wavelength [Å], and the largest spatial frequency [1/Å] at which an aberration counts."""
        return float(wavelength(self.energy_ev)), self.card.q_max_per_angstrom

    def _phase(self, n: int, value: float, seen: Any = None) -> float:
        """Return the phase of an aberration of order n at the rim [rad]."""
        length, q = self.rim(seen)
        return 2 * math.pi / (n + 1) * length**n * q ** (n + 1) * value

    def _aberrations(self, seen: Any) -> list[Statement]:
        result = []
        for symbol, (n, _) in ABERRATIONS.items():
            value, (low, high) = magnitude(seen, symbol), self.ranges[symbol]
            slack = SLACK * (high - low)
            excess = max(low - slack - value, value - high - slack, 0.0)
            if self._phase(n, excess, seen) > _PHASE:
                name = symbol
                if symbol == "C10":
                    name, value, low, high = "defocus", -value, -high, -low
                result.append(outside(name, value, (low, high), f"{low:.4g} to {high:.4g} Å"))
        return result

    def _aperture(self, seen: Condition) -> list[Statement]:
        """An aperture within the band, or none where there always was one, needs one like it in the calibration."""
        edge = 1e3 * float(wavelength(seen.energy_ev)) * self.card.q_max_per_angstrom
        value, *values = (
            edge if c.aperture_mrad is None else min(c.aperture_mrad, edge) for c in (seen, *self.measured)
        )
        low, high = min(values), max(values)
        if low * (1 - SLACK) <= value <= high * (1 + SLACK):
            return []
        ends = f"{low:.3g} mrad and more" if high == edge else f"{low:.3g} to {high:.3g} mrad"
        what = "no aperture" if seen.aperture_mrad is None else "aperture"
        return [outside("aperture_mrad", seen.aperture_mrad, (low, high), ends, what=what, unit=" mrad")]

    def _coherence(self, seen: Condition, *, blurred: bool) -> list[Statement]:
        result = []
        for name, envelope in _ENVELOPES.items():
            value, (low, high) = getattr(seen, name), self.ranges[name]
            slack = SLACK * (high - low)
            nearest = seen.model_copy(update={name: min(max(value, low), high)})
            if low - slack <= value <= high + slack or self._hardly_differ(seen, nearest, envelope):
                continue
            what, unit = name.replace("_", " ").rsplit(" ", 1)
            unit = {"angstrom": " Å"}.get(unit, f" {unit}")
            if name == "vibration_angstrom" and blurred:
                what = "vibration with the blur of the camera's mtf"
            ends = f"{low:.4g} to {high:.4g}{unit}"
            result.append(outside(name, value, (low, high), ends, what=what, unit=unit, missing=value == 0))
        return result

    def _hardly_differ(self, one: Condition, other: Condition, envelope: Envelope) -> bool:
        """Whether two conditions have nearly the same envelope up to the band's edge, in every direction."""
        angle = torch.linspace(0, math.pi, 37, dtype=torch.float64)
        q = self.card.q_max_per_angstrom * torch.linspace(0.1, 1.0, 10, dtype=torch.float64)[:, None]
        ours, theirs = envelope(stack([one, other]), q * angle.cos(), q * angle.sin())
        return bool((ours - theirs).abs().max() < _TRANSFER)

    def _noise(self, seen: Any, *, counted: bool = False) -> list[Statement]:
        doses = [c.dose_per_angstrom2 for c in self.measured if c.dose_per_angstrom2 is not None]
        dose, always = seen.dose_per_angstrom2, len(doses) == len(self.measured)
        if dose is None and not always:
            return []
        if doses and dose is not None:
            factor = max((max(doses) / min(doses)) ** SLACK, 1 + SLACK)
            if min(doses) / factor <= dose and (dose <= max(doses) * factor or not always):
                return []
        what = "no shot noise at all" if dose is None else "counted dose" if counted else "dose"
        limit = (min(doses), max(doses)) if doses else None
        ends = "no shot noise" if limit is None else f"{limit[0]:.3g} to {limit[1]:.3g} e/Å²"
        return [outside("dose_per_angstrom2", dose, limit, ends, what=what, unit=" e/Å²", missing=dose is None)]

    def _background(self, condition: Condition) -> list[Statement]:
        most = max(c.background for c in self.conditions)
        if condition.background <= most * (1 + SLACK):
            return []
        return [outside("background", condition.background, (0.0, most), f"0 to {most:.3g}", unit="")]


def outside(name: str, value: float | None, limit: Sequence[float] | None, ends: str, **detail: Any) -> Statement:
    """Return that a value lies outside the calibrated range, which `ends` gives in words."""
    return Statement(
        "outside", name, value, limit, {"what": name, "unit": " Å", "range": ends, "missing": False, **detail}
    )
