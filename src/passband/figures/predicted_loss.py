"""Predicted against measured loss, for pairs whose condition the fit has not seen."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style

_KINDS = {
    "tested at zero": (pl.col("test_zero"), style.ORANGE, "s"),
    "trained at zero": (pl.col("train_zero"), style.GROUPS[4], "^"),
    "neither": (~pl.col("train_zero") & ~pl.col("test_zero"), style.BLUE, "o"),
}


def draw(table: pl.DataFrame, ax: Axes, title: str) -> None:
    """Draw one point for each pair: loss, predicted, train_zero, test_zero."""
    ends = [table["loss"].min(), table["loss"].max()]
    ax.plot(ends, ends, color="0.6", linewidth=0.8)
    for name, (condition, colour, marker) in _KINDS.items():
        rows = table.filter(condition)
        if len(rows):
            look: dict[str, Any] = {"s": 14, "color": colour, "marker": marker, "alpha": 0.8, "linewidths": 0}
            ax.scatter(rows["loss"], rows["predicted"], label=name, **look)
    ax.set(xlabel="measured test loss", ylabel="predicted, held out", title=title)
    ax.legend(fontsize=7)
