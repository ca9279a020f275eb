"""Lines with bands: a measured value over something varied, with its interval, a line for each group."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter

from passband.figures import style


def draw(table: pl.DataFrame, ax: Axes, x: str, y: str, *, log: tuple[bool, bool] = (False, False)) -> None:
    """Draw a line and a band for each group of a table of group, x, y, low, high.

    `x` and `y` are labels; `log` says whether each axis is logarithmic, base 2 for the horizontal one.
    """
    groups = table["group"].unique(maintain_order=True)
    for i, name in enumerate(groups):
        rows = table.filter(pl.col("group") == name).sort("x")
        colour, marker = style.GROUPS[i % len(style.GROUPS)], style.MARKERS[i % len(style.MARKERS)]
        ax.plot(rows["x"], rows["y"], color=colour, marker=marker, markersize=3.5, linewidth=1.2, label=name)
        if len(rows) > 1:
            ax.fill_between(rows["x"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
        else:
            ax.vlines(rows["x"], rows["low"], rows["high"], color=colour, linewidth=1)
    if log[0]:
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    if log[1]:
        style.log_scale(ax)
    ax.set(xlabel=x, ylabel=y)
    if len(groups) > 1:
        ax.legend(fontsize=7)
