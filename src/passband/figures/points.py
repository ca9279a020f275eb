"""A cloud of points: one measured value over another, shaded by a third, named in groups."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style


def draw(table: pl.DataFrame, ax: Axes, x: str, y: str, shade: str | None = None, *, log: bool = False) -> None:
    """Draw the points of a table of group, x, y, and shade if one is named.

    `x`, `y` and `shade` are labels; `log` says whether the vertical axis is logarithmic.
    """
    limits: dict[str, Any] = (
        {} if shade is None else {"vmin": table["shade"].min(), "vmax": table["shade"].max(), "cmap": "viridis"}
    )
    groups, drawn = table["group"].unique(maintain_order=True), None
    for i, name in enumerate(groups):
        rows = table.filter(pl.col("group") == name)
        colour: dict[str, Any] = (
            {"color": style.GROUPS[i % len(style.GROUPS)]} if shade is None else {"c": rows["shade"]}
        )
        look: dict[str, Any] = {
            "s": 16,
            "marker": style.MARKERS[i % len(style.MARKERS)],
            "alpha": 0.8,
            "linewidths": 0,
            "label": name,
        }
        drawn = ax.scatter(rows["x"], rows["y"], **look, **colour, **limits)
    if log:
        style.log_scale(ax)
    ax.set(xlabel=x, ylabel=y)
    if len(groups) > 1:
        ax.legend(fontsize=7)
    if shade is not None and drawn is not None:
        style.colour_bar(drawn, ax, shade)
