"""One-dimensional curves of the transfer, for tables and figures."""

from collections.abc import Sequence

import polars as pl
import torch

from passband.conditions import ImagingCondition
from passband.optics import intensity_transfer, stack
from passband.shift import information


def transfer_curves(conditions: Sequence[ImagingCondition], q_max: float, points: int = 400) -> pl.DataFrame:
    """Return condition, q_per_angstrom, transfer (along +x) and magnitude (|T|, mean over azimuth).

    The transfer is |T| with the sign of sin χ for the even part of χ, which is what reverses contrast; coma and trefoil
    only turn the phase of T.

    Args:
        conditions: B conditions.
        q_max: highest spatial frequency [1/Å].
        points: samples of each curve.
    """
    q = torch.linspace(0, q_max, points, dtype=torch.float64)
    angle = 2 * torch.pi * torch.arange(64, dtype=torch.float64) / 64
    grid = q[:, None] * torch.cos(angle), q[:, None] * torch.sin(angle)
    t = intensity_transfer(stack(conditions), *grid)
    sign = torch.sign(intensity_transfer(stack([_without_odd(c) for c in conditions]), *grid)[..., 0].real)
    return pl.concat(
        pl.DataFrame(
            {
                "condition": c.id,
                "q_per_angstrom": q.numpy(),
                "transfer": (s * row[:, 0].abs()).numpy(),
                "magnitude": row.abs().mean(1).numpy(),
            }
        )
        for c, row, s in zip(conditions, t, sign, strict=True)
    )


def first_zero(condition: ImagingCondition, q_max: float, points: int = 2000) -> float | None:
    """Return the lowest |q| [1/Å] at which contrast reverses in any direction, interpolated; None if none up to q_max.

    Args:
        condition: the imaging condition.
        q_max: highest spatial frequency [1/Å].
        points: samples along each of 64 directions over half a turn.
    """
    q = torch.linspace(0, q_max, points, dtype=torch.float64)
    angle = torch.pi * torch.arange(64, dtype=torch.float64) / 64
    t = intensity_transfer(
        stack([_without_odd(condition)]), q[:, None] * torch.cos(angle), q[:, None] * torch.sin(angle)
    )[0].real
    before, after = t[1:-1], t[2:]
    crossing = (before * after < 0).nonzero()
    if not len(crossing):
        return None
    i, j = crossing.T
    return float((q[i + 1] + (q[1] - q[0]) * before[i, j] / (before[i, j] - after[i, j])).min())


def _without_odd(condition: ImagingCondition) -> ImagingCondition:
    even = {s: v for s, v in condition.aberrations.items() if int(s.removeprefix("phi").removeprefix("C")[0]) % 2}
    return condition.model_copy(update={"aberrations": even})


def epsilon_over_defocus(
    base: ImagingCondition, lowest: float, highest: float, q_max: float, points: int = 201
) -> pl.DataFrame:
    """Return defocus_angstrom and epsilon for a condition whose defocus is swept.

    Args:
        base: all but the defocus.
        lowest: first defocus [Å].
        highest: last defocus [Å].
        q_max: band of ε [1/Å].
        points: number of defoci.
    """
    defocus = torch.linspace(lowest, highest, points, dtype=torch.float64)
    swept = [
        ImagingCondition(**(base.to_dict() | {"aberrations": {**base.aberrations, "C10": -float(d)}})) for d in defocus
    ]
    return pl.DataFrame({"defocus_angstrom": defocus.numpy(), "epsilon": information(swept, q_max).numpy()})
