"""What a network was studied on, of specimens and of conditions, and what therefore nothing can be said of."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from passband.base.electron import wavelength
from passband.conditions import ABERRATIONS, Condition
from passband.models.card import ModelCard
from passband.optics import Parameters, motion_envelope, spatial_envelope, stack, temporal_envelope
from passband.verdicts.features import as_measured

# Phase of an aberration that was never varied, at the band's edge, from which a condition is another microscope [rad].
_UNSTUDIED_PHASE = 0.3
# Share of a studied range that one may lie beyond it: the conditions drawn do not reach its ends.
_RANGE_SLACK = 0.05
# What a focal spread, convergence or motion that was not studied may change of the transfer within the band.
_UNSTUDIED_LOSS = 0.05

Envelope = Callable[[Parameters, Tensor, Tensor], Tensor]
# What damps the transfer, by the field that says how much.
_ENVELOPES: dict[str, Envelope] = {
    "focal_spread_angstrom": temporal_envelope,
    "vibration_angstrom": motion_envelope,
    "convergence_mrad": spatial_envelope,
    "drift_angstrom": motion_envelope,
}


@dataclass(frozen=True)
class SpecimenInfo:
    """What a user says of the specimen; None is not said, and then taken to be as in training.

    Attributes:
        elements: of the particles.
        support: material of the film.
        thickness_angstrom: of the film [Å].
        diameter_angstrom: of the particles [Å].
    """

    elements: tuple[str, ...] | None = None
    support: str | None = None
    thickness_angstrom: float | None = None
    diameter_angstrom: float | None = None


def specimen_objections(card: ModelCard, claim: SpecimenInfo) -> list[str]:
    """Return what a user says of the specimen that a network was not studied on, in sentences."""
    known, found = card.scored_on or card.specimens, []
    if claim.elements is not None and set(claim.elements) != set(known.elements):
        found.append(
            f"the particles are {', '.join(claim.elements)}, and the network was studied on {', '.join(known.elements)}"
        )
    if claim.support is not None and claim.support != (known.support or "none"):
        found.append(f"the support is {claim.support}, and the network was studied on {known.support or 'none'}")
    for what, value, bounds in (
        ("film is", claim.thickness_angstrom, known.thickness_angstrom),
        ("particles are", claim.diameter_angstrom, known.diameter_angstrom),
    ):
        if value is not None and bounds is not None and not bounds[0] <= value <= bounds[1]:
            found.append(
                f"the {what} {value:g} Å across, and the network was studied from {bounds[0]:.3g} to {bounds[1]:.3g} Å"
            )
    return found


def assumptions(card: ModelCard, claim: SpecimenInfo) -> list[str]:
    """Return what a verdict takes for granted of the specimen because the user has not said it, in sentences."""
    known, found = card.scored_on or card.specimens, []
    if claim.elements is None:
        found.append(f"particles of {', '.join(known.elements)} (--element)")
    if claim.support is None:
        found.append(f"on {known.support or 'no support'} (--support)")
    if claim.thickness_angstrom is None and known.thickness_angstrom is not None:
        found.append("{:.3g} to {:.3g} Å thick (--thickness)".format(*known.thickness_angstrom))
    if claim.diameter_angstrom is None and known.diameter_angstrom is not None:
        found.append("particles {:.3g} to {:.3g} Å across (--diameter)".format(*known.diameter_angstrom))
    return found


def condition_objections(card: ModelCard, scored: Sequence[Condition], condition: Condition) -> list[str]:
    """Return what of a condition lies outside what a network was studied under, in sentences.

    Args:
        card: of the network.
        scored: conditions that it was scored under.
        condition: that is asked about.
    """
    energy = scored[0].energy_ev
    if abs(condition.energy_ev / energy - 1) > 0.01:
        return [f"the energy is {condition.energy_ev:g} eV, and the network was studied at {energy:g} eV"]
    low, high = card.pixel_band_angstrom
    found = []
    if not low <= condition.pixel_size_angstrom <= high:
        found.append(
            f"pixels of {condition.pixel_size_angstrom:g} Å are beyond {low:g} to {high:g} Å, which the network takes"
        )
    seen, studied = as_measured(condition, card), [as_measured(c, card) for c in scored]
    return [
        *found,
        *_aberrations(studied, seen, card.q_max_per_angstrom),
        *_aperture(studied, seen, card.q_max_per_angstrom),
        *_coherence(studied, seen, condition, card.q_max_per_angstrom),
        *_noise(studied, seen, condition),
    ]


def typical(scored: Sequence[Condition]) -> Condition:
    """Return a condition with what a network was mostly studied under: aberrations that never varied, and medians of all else."""
    first = scored[0]
    constant = {name: v for name, v in first.aberrations.items() if all(c.aberrations.get(name) == v for c in scored)}
    doses = [c.dose_per_angstrom2 for c in scored if c.dose_per_angstrom2 is not None]
    return first.model_copy(
        update={
            "aberrations": constant,
            "dose_per_angstrom2": float(np.median(doses)) if doses else None,
            **{name: float(np.median([getattr(c, name) for c in scored])) for name in _ENVELOPES},
        }
    )


def spherical(scored: Sequence[Condition], q_max: float) -> tuple[float, bool]:
    """Return the C30 [Å] that a network was studied under, and whether that is known well enough to tell signs of the defocus."""
    values = [c.aberrations.get("C30", 0.0) for c in scored]
    middle = 0.0 if min(values) < 0 < max(values) else float(np.median(values))
    return middle, _phase(scored[0].energy_ev, 3, q_max, max(abs(v - middle) for v in values)) <= _UNSTUDIED_PHASE


def _phase(energy_ev: float, n: int, q: float, value: float) -> float:
    """Return the phase of an aberration of order n at a spatial frequency [rad]."""
    return 2 * math.pi / (n + 1) * float(wavelength(energy_ev)) ** n * q ** (n + 1) * value


def _aberrations(studied: list[Condition], seen: Condition, q_max: float) -> list[str]:
    found = []
    for symbol, (n, m) in ABERRATIONS.items():
        # The sign of what has an axis is a turn of that axis.
        value, *values = (abs(v) if m else v for v in (c.aberrations.get(symbol, 0.0) for c in (seen, *studied)))
        low, high = min(values), max(values)
        slack = _RANGE_SLACK * (high - low)
        # What an aberration beyond the studied ones does to the phase at the edge of the band.
        excess = max(low - slack - value, value - high - slack, 0.0)
        if _phase(seen.energy_ev, n, q_max, excess) > _UNSTUDIED_PHASE:
            name, shown = ("defocus", (-value, -high, -low)) if symbol == "C10" else (symbol, (value, low, high))
            found.append(f"{name} {shown[0]:g} Å is beyond {shown[1]:.4g} to {shown[2]:.4g} Å, which were studied")
    return found


def _aperture(studied: list[Condition], seen: Condition, q_max: float) -> list[str]:
    """An aperture within the band, or none where there always was one, is another microscope unless one like it was studied."""
    edge = 1e3 * float(wavelength(seen.energy_ev)) * q_max
    value, *values = (edge if c.aperture_mrad is None else min(c.aperture_mrad, edge) for c in (seen, *studied))
    low, high = min(values), max(values)
    if low * (1 - _RANGE_SLACK) <= value <= high * (1 + _RANGE_SLACK):
        return []
    what = "no aperture" if seen.aperture_mrad is None else f"aperture_mrad {seen.aperture_mrad:g} mrad"
    ends = f"{low:.3g} mrad and more" if high == edge else f"{low:.3g} to {high:.3g} mrad"
    return [f"{what} is beyond {ends}, which was studied"]


def _coherence(studied: list[Condition], seen: Condition, condition: Condition, q_max: float) -> list[str]:
    found = []
    for name, envelope in _ENVELOPES.items():
        value, values = getattr(seen, name), [getattr(c, name) for c in studied]
        low, high = min(values), max(values)
        slack = _RANGE_SLACK * (high - low)
        nearest = min(max(value, low), high)
        if low - slack <= value <= high + slack or _hardly_differ(seen, name, nearest, envelope, q_max):
            continue
        words = name
        if name == "vibration_angstrom" and condition.detector.mtf is not None:
            words = "vibration, with the blur of the camera's mtf,"
        unit = "mrad" if name.endswith("mrad") else "Å"
        missing = f" (is {name} missing in the condition file?)" if value == 0 else ""
        found.append(
            f"{words} {value:.4g} {unit} is beyond {low:.4g} to {high:.4g} {unit}, which were studied{missing}"
        )
    return found


def _hardly_differ(seen: Condition, name: str, other: float, envelope: Envelope, q_max: float) -> bool:
    """Whether another value leaves nearly the same transfer up to the band's edge, in every direction."""
    angle = torch.linspace(0, math.pi, 37, dtype=torch.float64)
    q = q_max * torch.linspace(0.1, 1.0, 10, dtype=torch.float64)[:, None]
    both = stack([seen, seen.model_copy(update={name: other})])
    ours, theirs = envelope(both, q * angle.cos(), q * angle.sin())
    return bool((ours - theirs).abs().max() < _UNSTUDIED_LOSS)


def _noise(studied: list[Condition], seen: Condition, condition: Condition) -> list[str]:
    doses = [c.dose_per_angstrom2 for c in studied if c.dose_per_angstrom2 is not None]
    dose, always = seen.dose_per_angstrom2, len(doses) == len(studied)
    if dose is None and not always:
        return []
    if doses and dose is not None:
        factor = max((max(doses) / min(doses)) ** _RANGE_SLACK, 1 + _RANGE_SLACK)
        if min(doses) / factor <= dose and (dose <= max(doses) * factor or not always):
            return []
    counted = "" if condition.detector.dqe is None else " counted"
    what = "no shot noise at all" if dose is None else f"a dose of {dose:g} e/Å²{counted}"
    ends = f"{min(doses):.3g} to {max(doses):.3g} e/Å², which were" if doses else "no shot noise, which was"
    missing = " (is dose_per_angstrom2 missing in the condition file?)" if dose is None else ""
    return [f"{what} is beyond {ends} studied{missing}"]
