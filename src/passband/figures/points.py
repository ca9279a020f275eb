"""A cloud of points: one measured value over another, shaded by a third, named in groups."""

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style

_MARKERS = ("o", "s", "^", "D", "v")


def draw(table: pl.DataFrame, ax: Axes, x: str, y: str, shade: str | None = None, *, log: bool = False) -> None:
    """Draw the points of each group.

    Args:
        table: group, x, y, and shade if one is named.
        ax: where to draw.
        x: label of the horizontal axis.
        y: label of the vertical axis.
        shade: label of the colour.
        log: whether the vertical axis is logarithmic.
    """
    limits = {} if shade is None else {"vmin": table["shade"].min(), "vmax": table["shade"].max(), "cmap": "viridis"}
    drawn = None
    for i, name in enumerate(table["group"].unique(maintain_order=True)):
        rows = table.filter(pl.col("group") == name)
        colour = {"color": f"C{i}"} if shade is None else {"c": rows["shade"]}
        drawn = ax.scatter(
            rows["x"], rows["y"], s=16, marker=_MARKERS[i % len(_MARKERS)], alpha=0.8, linewidths=0, label=name, **colour, **limits
        )  # fmt: skip
    if log:
        style.log_scale(ax)
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    if table["group"].n_unique() > 1:
        ax.legend(fontsize=7)
    if shade is not None and drawn is not None and ax.figure is not None:
        ax.figure.colorbar(drawn, ax=ax, label=shade, shrink=0.8)
