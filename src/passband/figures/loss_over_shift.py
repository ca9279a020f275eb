"""Loss against σ and Δε, with the smooth fit behind the pairs."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from passband.figures import style

_KINDS = {
    "tested at zero defocus": (pl.col("test_zero"), "s"),
    "trained at zero defocus": (pl.col("train_zero"), "^"),
    "neither": (~pl.col("train_zero") & ~pl.col("test_zero"), "o"),
}


def draw(table: pl.DataFrame, ax: Axes, surface: pl.DataFrame) -> None:
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
        x, y = surface["sigma"].unique().sort().to_numpy(), surface["delta_epsilon"].unique().sort().to_numpy()
        z = surface.sort("delta_epsilon", "sigma")["loss"].to_numpy().reshape(len(y), len(x))
        ax.pcolormesh(x, y, np.clip(z, low, high), alpha=0.35, shading="nearest", rasterized=True, **shades)
    points = None
    for name, (condition, marker) in _KINDS.items():
        rows = mean.filter(condition)
        if len(rows):
            look: dict[str, Any] = {
                "marker": marker,
                "s": 34,
                "edgecolors": "black",
                "linewidths": 0.5,
                "label": name,
            } | shades
            points = ax.scatter(rows["sigma"], rows["delta_epsilon"], c=rows["loss"], **look)
    ax.use_sticky_edges = False
    ax.margins(0.06)
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set_xlabel("σ(train, test): share of the training transfer that the test keeps")
    ax.set_ylabel("Δε = ε(test) − ε(train)")
    ax.set_title("Test loss over (σ, Δε); shade: smooth fit")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=3, fontsize=7)
    if points is not None:
        style.colour_bar(points, ax, "test loss")
