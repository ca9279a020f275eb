"""Held-out R² of each metric with its interval."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from passband.figures import style

_LOWEST = -0.5


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw a point and an interval for each metric, best first: name, trivial, r2_both, r2_both_low, r2_both_high, r2_train."""
    table = table.with_columns(pl.col("^r2_.*$").clip(_LOWEST, 1), place=np.arange(len(table)))
    for trivial, colour, marker, label in ((False, style.BLUE, "o", "optics"), (True, style.ORANGE, "s", "no optics")):
        rows = table.filter(pl.col("trivial") == trivial)
        ax.hlines(rows["place"], rows["r2_both_low"], rows["r2_both_high"], color=colour, linewidth=1.2, alpha=0.6)
        name = f"{label}: both conditions held out"
        ax.scatter(rows["r2_both"], rows["place"], s=16, color=colour, marker=marker, label=name, zorder=3)
    ax.scatter(table["r2_train"], table["place"], s=10, marker="|", color="0.2", label="train condition held out")
    ax.axvline(0, color="0.5", linewidth=0.8)
    ax.set_yticks(table["place"].to_list(), table["name"].to_list(), fontsize=6.5)
    ax.set(xlabel="R² of the log loss (below −0.5 drawn there)", xlim=(_LOWEST - 0.02, 1))
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.legend(fontsize=7, loc="lower right")
