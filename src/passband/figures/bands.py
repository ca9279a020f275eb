"""Lines with bands: a measured value over something varied, with its interval, a line for each group."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter

from passband.figures import style

_COLOURS = ("#2b5c8a", "#c1272d", "#1b9e77", "#f2a33a", "#6b4c9a", "#5b6875")


def draw(table: pl.DataFrame, ax: Axes, x: str, y: str, *, log: tuple[bool, bool] = (False, False)) -> None:
    """Draw a line and a band for each group, in the order of the table.

    Args:
        table: group, x, y, low, high.
        ax: where to draw.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        log: whether each axis is logarithmic (base 2 for the horizontal one).
    """
    for i, name in enumerate(table["group"].unique(maintain_order=True)):
        rows = table.filter(pl.col("group") == name).sort("x")
        colour = _COLOURS[i % len(_COLOURS)]
        ax.plot(rows["x"], rows["y"], color=colour, marker="o", markersize=3.5, linewidth=1.2, label=name)
        if len(rows) > 1:
            ax.fill_between(rows["x"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
        else:
            ax.vlines(rows["x"], rows["low"], rows["high"], color=colour, linewidth=1)
    if log[0]:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    if log[1]:
        style.log_scale(ax)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if table["group"].n_unique() > 1:
        ax.legend(fontsize=7)
