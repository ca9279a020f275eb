"""Information transferred by each condition, where defocus is not what sets them apart."""

import polars as pl
from matplotlib.axes import Axes

from passband.figures.matrix import short_labels


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw one point for each condition.

    Args:
        table: label, epsilon.
        ax: where to draw.
    """
    shared, ticks = short_labels(table["label"].to_list())
    places = range(len(table))
    ax.plot(places, table["epsilon"], color="#c1272d", marker="o", markersize=5, linestyle="none")
    if len(table) <= 40:
        ax.set_xticks(places, ticks, rotation=90, fontsize=7)
    ax.set_xlabel(shared or "condition, in the order of the tables")
    ax.set_ylabel("ε, information transferred")
    ax.set_ylim(0, None)
    ax.set_title("ε of each condition")
