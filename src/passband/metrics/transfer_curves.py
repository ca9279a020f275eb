"""Transfer over |q|, for tables and figures: curves and limits of one condition, and two conditions frequency by frequency."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from passband import optics
from passband.conditions import AnyCondition, Condition
from passband.metrics import information

# A network cannot have learnt from frequencies of which the training condition transfers less.
_WORTH = 0.1


def transfer_curves(conditions: Sequence[AnyCondition], q_max: float, points: int = 400) -> pl.DataFrame:
    """Return condition, q_per_angstrom up to q_max [1/Å], transfer and envelope (along +x), magnitude, of HRTEM or STEM conditions.

    The transfer is |T| with the sign that it has for the even part of χ (of sin χ in HRTEM), which is what reverses contrast; coma and trefoil
    only turn the phase of T. The envelope is E_t E_s, or what the source of a probe leaves. The magnitude is the mean of |T| over azimuth.
    """
    q = torch.linspace(0, q_max, points, dtype=torch.float64)
    grid, parameters = _polar(q, 2 * torch.pi), optics.stack(conditions)
    t = optics.image_transfer(parameters, *grid)
    along = q, 0 * q
    if isinstance(parameters, optics.ProbeParameters):
        envelope = optics.motion_envelope(parameters, *along)
    else:
        envelope = optics.temporal_envelope(parameters, *along) * optics.spatial_envelope(parameters, *along)
    sign = torch.sign(optics.image_transfer(optics.even_part(parameters), *grid)[..., 0].real)
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
    t = optics.intensity_transfer(optics.even_part(optics.stack([condition])), *_polar(q, torch.pi))[0].real
    before, after = t[1:-1], t[2:]
    crossing = (before * after < 0).nonzero()
    if not len(crossing):
        return None
    i, j = crossing.T
    return float((q[i + 1] + (q[1] - q[0]) * before[i, j] / (before[i, j] - after[i, j])).min())


def epsilon_over_defocus(
    base: AnyCondition, lowest: float, highest: float, q_max: float, points: int = 201
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
    damping = optics.wave_transfer(optics.stack([condition]), *_polar(q, torch.pi, 16))[0].abs()
    below = (damping < math.exp(-2)).any(1).nonzero()
    return float(q[below[0, 0]]) if len(below) else None


def transfer_map(condition: Condition, q_max: float, points: int = 257) -> np.ndarray:
    """Return T with the sign of its even part on a square of side 2 q_max, qx along the first axis."""
    q = torch.linspace(-q_max, q_max, points, dtype=torch.float64)
    qx, qy = torch.meshgrid(q, q, indexing="ij")
    parameters = optics.stack([condition])
    sign = torch.sign(optics.intensity_transfer(optics.even_part(parameters), qx, qy)[0].real)
    return (sign * optics.intensity_transfer(parameters, qx, qy)[0].abs()).numpy()


def compare_by_frequency(train: Condition, test: Condition, q_max: float) -> pl.DataFrame:
    """Return a row per |q| up to q_max [1/Å]: q_per_angstrom, train, test, kept, reversed_share, lost, reversed.

    train and test are the mean |T| over azimuth. kept is the share of the training |T| that the test keeps, reversed_share the
    share of it whose contrast is reversed. Where the training condition transfers more than 0.1, lost says that less than half is
    kept, reversed that more than half of it is reversed.
    """
    q = q_max * (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    grid, parameters = _polar(q, 2 * torch.pi), optics.stack([train, test])
    a, b = optics.contrast_sign(parameters, *grid) * optics.intensity_transfer(parameters, *grid).abs()
    common = torch.minimum(a.abs(), b.abs())
    total = a.abs().mean(1)
    kept = common.mean(1) / total
    turned = (common * (a * b < 0)).sum(1) / common.sum(1)
    worth = total > _WORTH
    columns = {
        "q_per_angstrom": q,
        "train": total,
        "test": b.abs().mean(1),
        "kept": kept,
        "reversed_share": turned,
        "lost": worth & (kept < 0.5),
        "reversed": worth & (turned > 0.5),
    }
    return pl.DataFrame({name: values.numpy() for name, values in columns.items()})


def intervals(table: pl.DataFrame, column: str) -> list[list[float]]:
    """Return the intervals of |q| [1/Å] in which a column of `compare_by_frequency` is true."""
    step = float(table["q_per_angstrom"][1] - table["q_per_angstrom"][0])
    result: list[list[float]] = []
    for q, flag in table.select("q_per_angstrom", column).iter_rows():
        if flag and result and q - result[-1][1] < 0.75 * step:
            result[-1][1] = round(q + step / 2, 6)
        elif flag:
            result.append([round(q - step / 2, 6), round(q + step / 2, 6)])
    return result


def verdict(metrics: dict[str, Any], table: pl.DataFrame) -> str:
    """Return how much of the training transfer the test condition transfers, from metrics and table of `compare_by_frequency`."""
    sigma, signed = metrics["sigma"], metrics["signed_overlap"]
    if sigma is None:
        return "the training condition transfers nothing, so there is nothing to compare"
    # σ = same + reversed and signed σ = same − reversed.
    reverse = (sigma - signed) / 2
    text = f"the test condition also transfers {sigma:.0%} of what the training condition transfers"
    same = f": {max(sigma - reverse, 0):.0%} with the same contrast and {reverse:.0%} with reversed contrast"
    text += same if reverse >= 0.005 else ", all of it with the same contrast"
    places = [
        f"{name} at {', '.join(f'{low:.2f}–{high:.2f}' for low, high in where)} 1/Å"
        for name in ("lost", "reversed")
        if (where := intervals(table, name))
    ]
    return "; ".join([text, *places])


def _polar(q: Tensor, turn: float, directions: int = 64) -> tuple[Tensor, Tensor]:
    """Return qx and qy of each |q| in evenly spaced directions within an angle, shape [Q, directions]."""
    angle = turn * torch.arange(directions, dtype=torch.float64) / directions
    return q[:, None] * torch.cos(angle), q[:, None] * torch.sin(angle)
