"""Two conditions, frequency by frequency: where transfer is lost and where contrast is reversed."""

from typing import Any

import polars as pl
import torch

from passband.conditions import Condition
from passband.optics import contrast_sign, intensity_transfer, stack

_RINGS, _DIRECTIONS = 200, 64
# A network cannot have learnt from frequencies of which the training condition transfers less.
_WORTH = 0.1


def compare_by_frequency(train: Condition, test: Condition, q_max: float) -> pl.DataFrame:
    """Return a row per |q| up to q_max [1/Å]: q_per_angstrom, train, test, kept, reversed_share, lost, reversed.

    train and test are the mean |T| over azimuth. kept is the share of the training |T| that the test keeps;
    reversed_share the share of it whose contrast is reversed; lost: less than half is kept; reversed: more than half of
    what is kept is reversed. Both only where the training condition transfers more than 0.1.
    """
    q = q_max * (torch.arange(_RINGS, dtype=torch.float64) + 0.5) / _RINGS
    angle = 2 * torch.pi * torch.arange(_DIRECTIONS, dtype=torch.float64) / _DIRECTIONS
    qx, qy = (q[:, None] * f(angle) for f in (torch.cos, torch.sin))
    parameters = stack([train, test])
    a, b = contrast_sign(parameters, qx, qy) * intensity_transfer(parameters, qx, qy).abs()
    common = torch.minimum(a.abs(), b.abs())
    total = a.abs().mean(1)
    kept = common.mean(1) / total
    turned = (common * (a * b < 0)).sum(1) / common.sum(1)
    worth = total > _WORTH
    return pl.DataFrame(
        {
            "q_per_angstrom": q.numpy(),
            "train": total.numpy(),
            "test": b.abs().mean(1).numpy(),
            "kept": kept.numpy(),
            "reversed_share": turned.numpy(),
            "lost": (worth & (kept < 0.5)).numpy(),
            "reversed": (worth & (turned > 0.5)).numpy(),
        }
    )


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
    """Return one line on how much of the training transfer the test condition transfers too.

    Args:
        metrics: of one pair, by name.
        table: from `compare_by_frequency`.
    """
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
