"""Loss per epoch, for training and validation."""

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw label, epoch, train_loss (solid) and validation_loss (dashed): a curve for each condition, the mean over seeds."""
    mean = table.group_by("label", "epoch", maintain_order=True).agg(pl.col("train_loss", "validation_loss").mean())
    labels = mean["label"].unique(maintain_order=True)
    for label, colour in zip(labels, style.in_order(len(labels)), strict=True):
        rows = mean.filter(pl.col("label") == label)
        ax.plot(rows["epoch"], rows["train_loss"], color=colour, linewidth=1.1, label=style.minus(label))
        ax.plot(rows["epoch"], rows["validation_loss"], color=colour, linewidth=0.8, linestyle="--")
    style.log_scale(ax)
    style.whole_numbers(ax.xaxis)
    ax.set(xlabel="epoch", ylabel="loss (cross-entropy + Dice)", title="Training (solid) and validation (dashed)")
    if len(labels) <= 16:
        ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
