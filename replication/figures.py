"""Figures of the replication: bands, clouds of points, the plane of σ and Δε."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FormatStrFormatter

from passband.figures import style

_CELLS = 24


def draw_bands(table: pl.DataFrame, ax: Axes, x: str, y: str, *, log: tuple[bool, bool] = (False, False)) -> None:
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


def draw_points(table: pl.DataFrame, ax: Axes, x: str, y: str, shade: str | None = None, *, log: bool = False) -> None:
    """Draw the points of a table of group, x, y, and shade if one is named.

    `x`, `y` and `shade` are labels; `log` says whether the vertical axis is logarithmic.
    """
    shades: dict[str, Any] = {}
    if shade is not None:
        shades = {"vmin": table["shade"].min(), "vmax": table["shade"].max(), "cmap": "viridis"}
    groups, drawn = table["group"].unique(maintain_order=True), None
    for i, name in enumerate(groups):
        rows = table.filter(pl.col("group") == name)
        colour: dict[str, Any] = {"color": style.GROUPS[i % len(style.GROUPS)]}
        if shade is not None:
            colour = {"c": rows["shade"]} | shades
        marker = style.MARKERS[i % len(style.MARKERS)]
        drawn = ax.scatter(rows["x"], rows["y"], s=16, marker=marker, alpha=0.8, linewidths=0, label=name, **colour)
    if log:
        style.log_scale(ax)
    ax.set(xlabel=x, ylabel=y)
    if len(groups) > 1:
        ax.legend(fontsize=7)
    if shade is not None and drawn is not None:
        style.colour_bar(drawn, ax, shade)


def draw_plane(table: pl.DataFrame, loss_ax: Axes, count_ax: Axes) -> None:
    """Draw the median relative loss in each cell of the plane, and the number of its pairs; empty cells stay white.

    The table has sigma, delta_epsilon and ratio (loss divided by the network's in-domain loss), a row per pair.
    """
    sigma, delta, ratio = (table[c].to_numpy() for c in ("sigma", "delta_epsilon", "ratio"))
    reach = float(np.abs(delta).max())
    extent = (0.0, 1.0, -reach, reach)
    for ax, values, reduce, title, norm in (
        (loss_ax, ratio, np.median, "Relative loss, median", LogNorm(1, 10)),
        (count_ax, np.ones_like(ratio), np.sum, "Pairs", LogNorm(1, None)),
    ):
        drawn = ax.hexbin(
            sigma, delta, C=values, gridsize=_CELLS, extent=extent, norm=norm, cmap="magma_r", linewidths=0.1,
            reduce_C_function=reduce,
        )  # fmt: skip
        ax.axhline(0, color="0.5", linewidth=0.6)
        ax.axvline(0.5, color="0.5", linewidth=0.6, linestyle=":")
        ax.axhline(-0.2, color="0.5", linewidth=0.6, linestyle=":")
        ax.set(xlabel="σ(train, test)", ylabel="Δε = ε(test) − ε(train)", title=title)
        style.colour_bar(drawn, ax, title.lower())
