"""A metric over a plane of two parameters."""

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style


def draw(table: pl.DataFrame, ax: Axes, x_label: str, y_label: str, metric: str) -> None:
    """Draw a map with a colour bar.

    Args:
        table: x, y, value, y varying fastest.
        ax: where to draw.
        x_label: of the x axis, with its unit.
        y_label: of the y axis, with its unit.
        metric: symbol of the metric, with its unit.
    """
    x, y = table["x"].unique().sort().to_numpy(), table["y"].unique().sort().to_numpy()
    values = table.sort("x", "y")["value"].to_numpy().reshape(len(x), len(y))
    shown = ax.pcolormesh(x, y, values.T, shading="nearest", cmap="viridis", rasterized=True)
    ax.set(xlabel=x_label, ylabel=y_label)
    style.colour_bar(shown, ax, metric)
