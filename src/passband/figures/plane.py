"""The plane of σ and Δε: relative loss and number of pairs in each cell."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from passband.figures import style

_CELLS = 24


def draw(table: pl.DataFrame, loss_ax: Axes, count_ax: Axes) -> None:
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
