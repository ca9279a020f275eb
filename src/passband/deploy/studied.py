"""What a network was studied on, of specimens and of conditions, and what therefore nothing can be said of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from passband.conditions import ABERRATIONS, ImagingCondition
from passband.deploy.card import ModelCard
from passband.deploy.features import as_measured
from passband.electron import wavelength
from passband.optics import motion_envelope, spatial_envelope, stack

# Phase of an aberration that was never varied, at the band's edge, from which a condition is another microscope [rad].
_UNSTUDIED_PHASE = 0.3
# Share of a studied range that one may lie beyond it: the conditions drawn do not reach its ends.
_RANGE_SLACK = 0.05
# What convergence or drift that were not studied may take of the transfer at the band's edge.
_UNSTUDIED_LOSS = 0.05


@dataclass(frozen=True)
class Claim:
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


def specimen_objections(card: ModelCard, claim: Claim) -> list[str]:
    """Return what a user says of the specimen that a network was not studied on, in sentences."""
    known, found = card.specimens, []
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


def assumptions(card: ModelCard, claim: Claim) -> list[str]:
    """Return what a verdict takes for granted of the specimen because the user has not said it, in sentences."""
    known, found = card.specimens, []
    if claim.elements is None:
        found.append(f"particles of {', '.join(known.elements)} (--element)")
    if claim.support is None:
        found.append(f"on {known.support or 'no support'} (--support)")
    if claim.thickness_angstrom is None and known.thickness_angstrom is not None:
        found.append("{:.3g} to {:.3g} Å thick (--thickness)".format(*known.thickness_angstrom))
    if claim.diameter_angstrom is None and known.diameter_angstrom is not None:
        found.append("particles {:.3g} to {:.3g} Å across (--diameter)".format(*known.diameter_angstrom))
    return found


def condition_objections(card: ModelCard, scored: Sequence[ImagingCondition], condition: ImagingCondition) -> list[str]:
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


def _aberrations(studied: list[ImagingCondition], seen: ImagingCondition, q_max: float) -> list[str]:
    found = []
    half_wave = 2 * np.pi / wavelength(seen.energy_ev)
    for symbol, (n, _) in ABERRATIONS.items():
        value = seen.aberrations.get(symbol, 0.0)
        values = [c.aberrations.get(symbol, 0.0) for c in studied]
        low, high = min(values), max(values)
        slack = _RANGE_SLACK * (high - low)
        # What an aberration beyond the studied ones does to the phase at the edge of the band.
        excess = max(low - slack - value, value - high - slack, 0.0)
        phase = half_wave / (n + 1) * (wavelength(seen.energy_ev) * q_max) ** (n + 1) * excess
        if phase > _UNSTUDIED_PHASE:
            name, shown = ("defocus", (-value, -high, -low)) if symbol == "C10" else (symbol, (value, low, high))
            found.append(f"{name} {shown[0]:g} Å is beyond {shown[1]:.4g} to {shown[2]:.4g} Å, which were studied")
    return found


def _aperture(studied: list[ImagingCondition], seen: ImagingCondition, q_max: float) -> list[str]:
    """An aperture within the band is another microscope unless one like it was studied."""
    edge = 1e3 * wavelength(seen.energy_ev) * q_max
    least = min((c.aperture_mrad for c in studied if c.aperture_mrad is not None), default=edge)
    if seen.aperture_mrad is None or seen.aperture_mrad >= min(least, edge):
        return []
    return [
        f"aperture_mrad {seen.aperture_mrad:g} mrad is beyond {min(least, edge):.3g} mrad and more, which was studied"
    ]


def _coherence(
    studied: list[ImagingCondition], seen: ImagingCondition, condition: ImagingCondition, q_max: float
) -> list[str]:
    found = []
    for name, unit, words in (
        ("focal_spread_angstrom", "Å", "focal_spread_angstrom"),
        (
            "vibration_angstrom",
            "Å",
            "vibration_angstrom" if condition.detector.mtf is None else "vibration, with the blur of the camera's mtf,",
        ),
        ("convergence_mrad", "mrad", "convergence_mrad"),
        ("drift_angstrom", "Å", "drift_angstrom"),
    ):
        value, values = getattr(seen, name), [getattr(c, name) for c in studied]
        slack = _RANGE_SLACK * (max(values) - min(values)) + 1e-9
        beyond = not min(values) - slack <= value <= max(values) + slack
        if beyond and not _hardly_matters(seen, name, q_max):
            found.append(
                f"{words} {value:.4g} {unit} is beyond {min(values):.4g} to {max(values):.4g} {unit}, which were studied"
            )
    return found


def _hardly_matters(seen: ImagingCondition, name: str, q_max: float) -> bool:
    """Whether a convergence or drift leaves nearly all of the transfer up to the band's edge, in every direction."""
    envelope = {"convergence_mrad": spatial_envelope, "drift_angstrom": motion_envelope}.get(name)
    if envelope is None:
        return False
    alone = seen.model_copy(update={"vibration_angstrom": 0.0})
    angle = torch.linspace(0, math.pi, 37, dtype=torch.float64)
    q = q_max * torch.linspace(0.1, 1.0, 10, dtype=torch.float64)[:, None]
    return bool(envelope(stack([alone]), q * angle.cos(), q * angle.sin()).min() > 1 - _UNSTUDIED_LOSS)


def _noise(studied: list[ImagingCondition], seen: ImagingCondition, condition: ImagingCondition) -> list[str]:
    doses = [c.dose_per_angstrom2 for c in studied if c.dose_per_angstrom2 is not None]
    dose = seen.dose_per_angstrom2
    if not doses:
        return []
    factor = (max(doses) / min(doses)) ** _RANGE_SLACK
    if dose is not None and min(doses) / factor <= dose <= max(doses) * factor:
        return []
    counted = "" if condition.detector.dqe is None else " counted"
    what = "no shot noise at all" if dose is None else f"a dose of {dose:g} e/Å²{counted}"
    return [f"{what} is beyond {min(doses):.3g} to {max(doses):.3g} e/Å², which were studied"]
