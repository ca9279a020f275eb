"""What conditions transfer: curves, the sheet of one, the comparison of two, ε of many, a metric over two parameters."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from passband.figures import style
from passband.figures.matrix import short_labels

_SHADES = {"reversed": ("#f2c14e", "contrast reversed"), "lost": (style.ORANGE, "lost: less than half is kept")}
_Q = "spatial frequency |q| [1/Å]"
_MOST_LABELS = 40


def draw_curves(table: pl.DataFrame, ax: Axes, column: str = "transfer") -> None:
    """Draw a curve for each condition of a table of label, q_per_angstrom and transfer (along +x) or magnitude (mean |T| over azimuth).

    The caller adds a legend where it hides none.
    """
    labels = table["label"].unique(maintain_order=True)
    for label, colour in zip(labels, style.in_order(len(labels)), strict=True):
        rows = table.filter(pl.col("label") == label)
        ax.plot(rows["q_per_angstrom"], rows[column], linewidth=1.0, color=colour, label=style.minus(label))
    ax.axhline(0, color="0.5", linewidth=0.6)
    signed = column == "transfer"
    ax.set(xlabel=_Q, xlim=(0, float(table["q_per_angstrom"].max())))
    ax.set(ylabel="T(q)" if signed else "mean |T(q)|", ylim=(-1.05 if signed else 0, 1.05))


def draw_sheet(curve: pl.DataFrame, plane: np.ndarray, figure: Figure, q_max: float, *, round_: bool) -> None:
    """Draw T(q) along +x between its envelopes, the map of T, and the rings of |T|² that an amorphous film would show.

    Args:
        curve: q_per_angstrom, transfer, envelope, magnitude.
        plane: T over a square of side 2 q_max, qx along the first axis.
        figure: where to draw.
        q_max: radius of the band [1/Å].
        round_: False names the direction of the curve, and adds the mean over all.
    """
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.15))
    ax = figure.add_subplot(grid[0, :])
    q, envelope = curve["q_per_angstrom"], curve["envelope"]
    ax.plot(q, envelope, color="0.6", linewidth=0.9, linestyle="--", label="envelopes")
    ax.plot(q, -envelope, color="0.6", linewidth=0.9, linestyle="--")
    ax.plot(q, curve["transfer"], color=style.BLUE, linewidth=1.3, label="T(q)" if round_ else "T(q) along +x")
    if not round_:
        ax.plot(q, curve["magnitude"], color=style.ORANGE, linewidth=1.0, label="mean |T| over azimuth")
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set(xlim=(0, q_max), ylim=(-1.05, 1.05), xlabel=_Q, ylabel="transfer T")
    ax.legend(fontsize=7, ncols=3, loc="lower right")
    for place, values, name, lowest, colours in (
        (grid[1, 0], plane, "T, sign of the contrast", -1, "RdBu_r"),
        (grid[1, 1], plane**2, "Thon rings: |T|²", 0, "gray"),
    ):
        ax = figure.add_subplot(place)
        # As a picture: qx to the right, qy downwards.
        extent = (-q_max, q_max, q_max, -q_max)
        drawn = ax.imshow(values.T, extent=extent, vmin=lowest, vmax=1, cmap=colours)
        ax.set(title=name, xlabel="qx [1/Å]", ylabel="qy [1/Å]")
        figure.colorbar(drawn, ax=ax, shrink=0.85)


def draw_comparison(table: pl.DataFrame, ax: Axes) -> None:
    """Draw mean |T| of two conditions, and shade where it is lost or reversed: q_per_angstrom, train, test, lost, reversed."""
    q = table["q_per_angstrom"].to_numpy()
    for column, (colour, name) in _SHADES.items():
        where: dict[str, Any] = {"where": table[column].to_numpy(), "transform": ax.get_xaxis_transform()}
        ax.fill_between(q, 0, 1, step="mid", color=colour, alpha=0.3, linewidth=0, label=name, **where)
    ax.plot(q, table["train"], color=style.BLUE, linewidth=1.4, label="training")
    ax.plot(q, table["test"], color="0.25", linewidth=1.2, linestyle="--", label="test")
    ax.set(xlim=(0, float(q[-1])), ylim=(0, 1), xlabel=_Q, ylabel="mean |T| over azimuth")
    ax.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def draw_epsilon(table: pl.DataFrame, ax: Axes, sweep: pl.DataFrame | None = None) -> None:
    """Draw one point for each condition, of label and epsilon: over defocus_angstrom on the curve of a sweep, else side by side.

    The sweep has defocus_angstrom and epsilon of the base condition.
    """
    if sweep is not None:
        ax.plot(sweep["defocus_angstrom"], sweep["epsilon"], color=style.BLUE, linewidth=1.2, label="base condition")
        places = table["defocus_angstrom"].to_list()
        ax.set(xlabel="defocus [Å], positive = underfocus", title="ε over defocus")
    else:
        shared, ticks = short_labels(table["label"].to_list())
        places = list(range(len(table)))
        ax.set(xlabel=shared or "condition, in the order of the tables", title="ε of each condition")
        if len(table) <= _MOST_LABELS:
            ax.set_xticks(places, ticks, rotation=90, fontsize=7)
        else:
            ax.set_xticks([])
    points: dict[str, Any] = {"color": style.ORANGE, "marker": "o", "markersize": 5, "linestyle": "none"}
    ax.plot(places, table["epsilon"], label="conditions of this study", **points)
    ax.set_ylabel("ε, information transferred")
    ax.set_ylim(0, None)
    if sweep is not None:
        ax.legend(fontsize=7, loc="lower right")


def draw_map(table: pl.DataFrame, ax: Axes, x_label: str, y_label: str, metric: str) -> None:
    """Draw a metric as a map with a colour bar: x, y and value, y varying fastest; labels and metric include their units."""
    x, y = (table[axis].unique().sort().to_numpy() for axis in "xy")
    values = table.sort("x", "y")["value"].to_numpy().reshape(len(x), len(y))
    shown = ax.pcolormesh(x, y, values.T, shading="nearest", cmap="viridis", rasterized=True)
    ax.set(xlabel=x_label, ylabel=y_label)
    style.colour_bar(shown, ax, metric)
