"""Loss per epoch, for training and validation."""

import matplotlib
import polars as pl
from matplotlib.axes import Axes


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw a curve for each condition, the mean over seeds; training solid, validation dashed.

    Args:
        table: label, epoch, train_loss, validation_loss.
        ax: where to draw.
    """
    mean = table.group_by("label", "epoch", maintain_order=True).agg(pl.col("train_loss", "validation_loss").mean())
    labels = mean["label"].unique(maintain_order=True).to_list()
    colours = matplotlib.colormaps["coolwarm"]
    for i, label in enumerate(labels):
        rows = mean.filter(pl.col("label") == label)
        shade = colours(i / max(len(labels) - 1, 1))
        ax.plot(rows["epoch"], rows["train_loss"], color=shade, linewidth=1.1, label=label)
        ax.plot(rows["epoch"], rows["validation_loss"], color=shade, linewidth=0.8, linestyle="--")
    ax.set_yscale("log")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (cross-entropy + Dice)")
    ax.set_title("Training (solid) and validation (dashed)")
    if len(labels) <= 16:
        ax.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
