"""Features of a STEM condition that predict a network's loss, on the network's pixels.

A dark-field probe reverses no contrast, so that the transfer itself takes the place of ε, σ and phases of HRTEM.
"""

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from passband.conditions import StemCondition
from passband.models.card import ModelCard
from passband.optics import ProbeParameters, probe_transfer, stack

#: Rings whose transfer predicts a loss, in radii of the band: particles are larger than atoms, so low frequencies count.
RINGS = (0.1, 0.25, 0.45, 0.75)
# Directions around them.
_AROUND = 8


def on_pixels(condition: StemCondition, pixel_size_angstrom: float) -> StemCondition:
    """Return a condition whose scan is resampled to other pixels [Å]; where these are larger, the jitter of several lines averages out."""
    lines = max(pixel_size_angstrom / condition.pixel_size_angstrom, 1.0)
    jitter = condition.line_jitter_angstrom / math.sqrt(lines)
    return condition.model_copy(
        update={"pixel_size_angstrom": pixel_size_angstrom, "line_jitter_angstrom": round(jitter, 6)}
    )


def scan_features(card: ModelCard, seen: Sequence[StemCondition]) -> dict[str, np.ndarray]:
    """Return the features of B conditions on the network's pixels by name, shape [B] each.

    The mean |T| of each of RINGS and its least over its most around the second, at the depth of the specimens' middle; ln dose, energy,
    semi-angles of probe and detector, jitter and drift.
    """
    rows = [_features(card, condition) for condition in seen]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _features(card: ModelCard, seen: StemCondition) -> dict[str, float]:
    radius = card.q_max_per_angstrom * torch.tensor(RINGS, dtype=torch.float64)[:, None]
    angle = 2 * math.pi / _AROUND * torch.arange(_AROUND, dtype=torch.float64)
    qx, qy = radius * torch.cos(angle), radius * torch.sin(angle)
    there = cast(ProbeParameters, stack([seen])).refocused(torch.tensor([_depth(card)], dtype=torch.float64))
    transfer = probe_transfer(there, qx, qy)[0].abs()
    around = transfer[1]
    named = {f"transfer_{i}": float(mean) for i, mean in enumerate(transfer.mean(1))}
    return named | {
        "roundness": float(around.min() / around.max().clamp_min(1e-6)),
        "ln_dose": math.log(seen.dose_per_angstrom2 or 1e6),
        "energy": seen.energy_ev / 1e5,
        "semiangle": seen.convergence_semiangle_mrad,
        "inner": seen.detector.inner_mrad,
        "outer": outer_mrad(seen),
        "jitter": seen.line_jitter_angstrom,
        "drift": seen.drift_angstrom,
    }


def _depth(card: ModelCard) -> float:
    """Return the depth of the specimens' middle below the entrance plane [Å]."""
    known = card.scored_on or card.specimens
    film, particles = known.thickness_angstrom or (0.0, 0.0), known.diameter_angstrom or (0.0, 0.0)
    return (sum(film) + sum(particles)) / 4


def outer_mrad(condition: StemCondition) -> float:
    """Return the outer semi-angle of a detector [mrad], large for one without an end."""
    return 1e3 if condition.detector.outer_mrad is None else condition.detector.outer_mrad
