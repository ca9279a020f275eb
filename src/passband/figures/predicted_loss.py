"""Predicted against measured loss for train conditions that the fit has not seen."""

import polars as pl
from matplotlib.axes import Axes


def draw(table: pl.DataFrame, ax: Axes, title: str) -> None:
    """Draw one point for each pair.

    Args:
        table: loss, predicted, train_zero, test_zero.
        ax: where to draw.
        title: name of the predictor.
    """
    low, high = table["loss"].min(), table["loss"].max()
    ax.plot([low, high], [low, high], color="0.6", linewidth=0.8)
    for name, condition, colour in (
        ("tested at zero", pl.col("test_zero"), "#c1272d"),
        ("trained at zero", pl.col("train_zero"), "#f2a33a"),
        ("neither", ~pl.col("train_zero") & ~pl.col("test_zero"), "#2b5c8a"),
    ):
        rows = table.filter(condition)
        if len(rows):
            ax.scatter(rows["loss"], rows["predicted"], s=12, color=colour, label=name, alpha=0.8, linewidths=0)
    ax.set_xlabel("measured test loss")
    ax.set_ylabel("predicted, held out")
    ax.set_title(title)
    ax.legend(fontsize=7)
