"""Losses: over σ and Δε, predicted against measured, over the epochs of training."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from passband.figures import style

#: Pairs by what lies at zero defocus.
_TESTED, _TRAINED = pl.col("test_zero"), pl.col("train_zero")
_NEITHER = ~_TRAINED & ~_TESTED


def draw_over_shift(table: pl.DataFrame, ax: Axes, surface: pl.DataFrame) -> None:
    """Draw the off-diagonal pairs (sigma, delta_epsilon, loss, train_zero, test_zero), coloured by loss, over the fitted surface.

    The surface is a grid of sigma, delta_epsilon, loss (NaN outside the pairs' convex hull); it may be empty.
    """
    mean = (
        table.filter(pl.col("train_condition") != pl.col("test_condition"))
        .group_by("train_condition", "test_condition", maintain_order=True)
        .agg(pl.col("sigma", "delta_epsilon", "train_zero", "test_zero").first(), pl.col("loss").mean())
    )
    low, high = float(mean["loss"].min()), float(mean["loss"].max())
    shades: dict[str, Any] = {"cmap": "magma_r", "norm": LogNorm(low, max(high, 1.01 * low))}
    if len(surface):
        x, y = (surface[axis].unique().sort().to_numpy() for axis in ("sigma", "delta_epsilon"))
        z = surface.sort("delta_epsilon", "sigma")["loss"].to_numpy().reshape(len(y), len(x))
        ax.pcolormesh(x, y, np.clip(z, low, high), alpha=0.35, shading="nearest", rasterized=True, **shades)
    points = None
    look: dict[str, Any] = {"s": 34, "edgecolors": "black", "linewidths": 0.5} | shades
    kinds = (("tested at zero defocus", _TESTED, "s"), ("trained at zero defocus", _TRAINED, "^"), ("neither", _NEITHER, "o"))  # fmt: skip
    for name, condition, marker in kinds:
        rows = mean.filter(condition)
        if len(rows):
            points = ax.scatter(rows["sigma"], rows["delta_epsilon"], c=rows["loss"], marker=marker, label=name, **look)
    ax.use_sticky_edges = False
    ax.margins(0.06)
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set_xlabel("σ(train, test): share of the training transfer that the test keeps")
    ax.set_ylabel("Δε = ε(test) − ε(train)")
    ax.set_title("Test loss over (σ, Δε); shade: smooth fit")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=7)
    if points is not None:
        style.colour_bar(points, ax, "test loss")


def draw_predicted(table: pl.DataFrame, ax: Axes, title: str) -> None:
    """Draw predicted against measured loss, a point for each pair that the fit has not seen: loss, predicted, train_zero, test_zero."""
    ends = [table["loss"].min(), table["loss"].max()]
    ax.plot(ends, ends, color="0.6", linewidth=0.8)
    for name, condition, colour, marker in (
        ("tested at zero", _TESTED, style.ORANGE, "s"),
        ("trained at zero", _TRAINED, style.GROUPS[4], "^"),
        ("neither", _NEITHER, style.BLUE, "o"),
    ):
        rows = table.filter(condition)
        if len(rows):
            look: dict[str, Any] = {"s": 14, "color": colour, "marker": marker, "alpha": 0.8, "linewidths": 0}
            ax.scatter(rows["loss"], rows["predicted"], label=name, **look)
    ax.set(xlabel="measured test loss", ylabel="predicted, held out", title=title)
    ax.legend(fontsize=7)


def draw_training(table: pl.DataFrame, ax: Axes) -> None:
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
