"""Information transferred by the conditions of a study."""

from typing import Any

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style
from passband.figures.matrix import short_labels

_MOST_LABELS = 40


def draw(table: pl.DataFrame, ax: Axes, sweep: pl.DataFrame | None = None) -> None:
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
        ax.set_xticks(*([places, ticks] if len(table) <= _MOST_LABELS else [[]]), rotation=90, fontsize=7)
    points: dict[str, Any] = {"color": style.ORANGE, "marker": "o", "markersize": 5, "linestyle": "none"}
    ax.plot(places, table["epsilon"], label="conditions of this study", **points)
    ax.set_ylabel("ε, information transferred")
    ax.set_ylim(0, None)
    if sweep is not None:
        ax.legend(fontsize=7, loc="lower right")
