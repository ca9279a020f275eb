"""Held-out R² of each metric with its interval."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

_LOWEST = -0.5


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw a point and an interval for each metric, best on top.

    Args:
        table: name, trivial, r2_both, r2_both_low, r2_both_high, r2_train, best first.
        ax: where to draw.
    """
    place = np.arange(len(table))
    for trivial, colour, label in ((False, "#2b5c8a", "optics"), (True, "#c1272d", "knows no optics")):
        chosen = table["trivial"].to_numpy() == trivial
        value, low, high = (
            table[c].to_numpy().clip(_LOWEST, 1)[chosen] for c in ("r2_both", "r2_both_low", "r2_both_high")
        )
        ax.hlines(place[chosen], low, high, color=colour, linewidth=1.2, alpha=0.6)
        ax.scatter(value, place[chosen], s=16, color=colour, label=f"{label}: both conditions held out", zorder=3)
    ax.scatter(
        table["r2_train"].to_numpy().clip(_LOWEST, 1),
        place,
        s=10,
        marker="|",
        color="0.2",
        label="train condition held out",
    )
    ax.axvline(0, color="0.5", linewidth=0.8)
    ax.set_yticks(place, table["name"].to_list(), fontsize=6.5)
    ax.set(
        ylim=(len(table) - 0.5, -0.5),
        xlabel="R² of the log loss (below −0.5 drawn there)",
        xlim=(_LOWEST - 0.02, 1),
    )
    ax.legend(fontsize=7, loc="lower right")
