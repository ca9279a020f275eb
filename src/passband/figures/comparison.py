"""A training and a test condition over |q|: what is lost, what is reversed."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style

_SHADES = {"reversed": ("#f2c14e", "contrast reversed"), "lost": (style.ORANGE, "lost: less than half is kept")}


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw mean |T| of both, and shade where it is lost or reversed: q_per_angstrom, train, test, lost, reversed."""
    q = table["q_per_angstrom"].to_numpy()
    for column, (colour, name) in _SHADES.items():
        shaded = table[column].to_numpy()
        where: dict[str, Any] = {"where": shaded, "transform": ax.get_xaxis_transform(), "step": "mid"}
        ax.fill_between(q, 0, 1, color=colour, alpha=0.3, linewidth=0, label=name, **where)
    ax.plot(q, table["train"], color=style.BLUE, linewidth=1.4, label="training")
    ax.plot(q, table["test"], color="0.25", linewidth=1.2, linestyle="--", label="test")
    ax.set(xlim=(0, float(q[-1])), ylim=(0, 1), xlabel="spatial frequency |q| [1/Å]", ylabel="mean |T| over azimuth")
    ax.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
