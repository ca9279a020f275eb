"""One-dimensional curves of the transfer, for tables and figures."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
import torch

from passband.conditions import Condition
from passband.metrics import information
from passband.optics import even_part, intensity_transfer, spatial_envelope, stack, temporal_envelope, wave_transfer


def transfer_curves(conditions: Sequence[Condition], q_max: float, points: int = 400) -> pl.DataFrame:
    """Return condition, q_per_angstrom up to q_max [1/Å], transfer and envelope E_t E_s (along +x), magnitude.

    The transfer is |T| with the sign of sin χ for the even part of χ, which is what reverses contrast; coma and trefoil
    only turn the phase of T. The magnitude is the mean of |T| over azimuth.
    """
    q = torch.linspace(0, q_max, points, dtype=torch.float64)
    angle = 2 * torch.pi * torch.arange(64, dtype=torch.float64) / 64
    grid = q[:, None] * torch.cos(angle), q[:, None] * torch.sin(angle)
    parameters = stack(conditions)
    t = intensity_transfer(parameters, *grid)
    along = q, 0 * q
    envelope = temporal_envelope(parameters, *along) * spatial_envelope(parameters, *along)
    sign = torch.sign(intensity_transfer(even_part(parameters), *grid)[..., 0].real)
    return pl.concat(
        pl.DataFrame(
            {
                "condition": c.id,
                "q_per_angstrom": q.numpy(),
                "transfer": (s * row[:, 0].abs()).numpy(),
                "envelope": e.numpy(),
                "magnitude": row.abs().mean(1).numpy(),
            }
        )
        for c, row, s, e in zip(conditions, t, sign, envelope, strict=True)
    )


def first_zero(condition: Condition, q_max: float, points: int = 2000) -> float | None:
    """Return the lowest |q| [1/Å] at which contrast reverses in any of 64 directions; None if none up to q_max."""
    q = torch.linspace(0, q_max, points, dtype=torch.float64)
    angle = torch.pi * torch.arange(64, dtype=torch.float64) / 64
    grid = q[:, None] * torch.cos(angle), q[:, None] * torch.sin(angle)
    t = intensity_transfer(even_part(stack([condition])), *grid)[0].real
    before, after = t[1:-1], t[2:]
    crossing = (before * after < 0).nonzero()
    if not len(crossing):
        return None
    i, j = crossing.T
    return float((q[i + 1] + (q[1] - q[0]) * before[i, j] / (before[i, j] - after[i, j])).min())


def epsilon_over_defocus(
    base: Condition, lowest: float, highest: float, q_max: float, points: int = 201
) -> pl.DataFrame:
    """Return defocus_angstrom and epsilon of a condition whose defocus is swept from lowest to highest [Å]."""
    defocus = torch.linspace(lowest, highest, points, dtype=torch.float64)
    swept = [base.varied({"defocus_angstrom": float(d)}) for d in defocus]
    return pl.DataFrame({"defocus_angstrom": defocus.numpy(), "epsilon": information(swept, q_max).numpy()})


def information_limit(condition: Condition, points: int = 4000) -> float | None:
    """Return the |q| [1/Å] beyond which envelopes or aperture leave less than exp(−2) of a beam in some direction.

    None if nothing damps up to 5 1/Å. Source: O'Keefe, Ultramicroscopy 47 (1992) 282, for the limit exp(−2).
    """
    q = torch.linspace(0, 5, points, dtype=torch.float64)
    angle = torch.pi * torch.arange(16, dtype=torch.float64) / 16
    damping = wave_transfer(stack([condition]), q[:, None] * torch.cos(angle), q[:, None] * torch.sin(angle))[0].abs()
    below = (damping < math.exp(-2)).any(1).nonzero()
    return float(q[below[0, 0]]) if len(below) else None


def transfer_map(condition: Condition, q_max: float, points: int = 257) -> np.ndarray:
    """Return T with the sign of its even part on a square of side 2 q_max, qx along the first axis."""
    q = torch.linspace(-q_max, q_max, points, dtype=torch.float64)
    qx, qy = torch.meshgrid(q, q, indexing="ij")
    parameters = stack([condition])
    sign = torch.sign(intensity_transfer(even_part(parameters), qx, qy)[0].real)
    return (sign * intensity_transfer(parameters, qx, qy)[0].abs()).numpy()
