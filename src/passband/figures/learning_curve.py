"""Scores against the number of labelled images."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, ScalarFormatter

from passband.figures import style

# Smaller errors, 1 − score, are drawn as this.
_LEAST_ERROR = 0.002
_TICKS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw each score of a table of images, kind (measured or estimated), score, value, low and high; estimates are hollow and dotted.

    The vertical axis is that of ln(1 − score): a power law of the error is a straight line.
    """
    shown = table["score"].unique(maintain_order=True).to_list()
    for i, (score, colour, marker) in enumerate(zip(shown, style.GROUPS, style.MARKERS, strict=False)):
        rows = table.filter(pl.col("score") == score)
        measured = rows.filter(pl.col("kind") == "measured")
        continued = pl.concat([measured[-1:], rows.filter(pl.col("kind") == "estimated")])
        # The same numbers of images, side by side.
        aside = 1 + 0.05 * (i - (len(shown) - 1) / 2)
        for part, look in (
            (measured, {"linestyle": "-", "label": score}),
            (continued, {"linestyle": ":", "markerfacecolor": "white", "zorder": 1.9}),
        ):
            value, low, high = (
                np.maximum(1 - part[name].to_numpy(), _LEAST_ERROR) for name in ("value", "low", "high")
            )
            x = part["images"].to_numpy() * aside
            ax.errorbar(
                x, value, (value - high, low - value), color=colour, marker=marker, markersize=4, elinewidth=0.8, **look
            )
    ax.set_xscale("symlog", base=2, linthresh=1)
    ax.xaxis.set_major_locator(FixedLocator(table["images"].unique().sort().to_list()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(FixedLocator([*(1 - tick for tick in _TICKS), _LEAST_ERROR]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda error, _: f"{'≥ ' if error <= _LEAST_ERROR else ''}{1 - error:g}")
    )
    ax.invert_yaxis()
    ax.set(xlabel="labelled images that the model was tuned on", ylabel="score of held-out images")
    ax.set_xlim(-0.2, 1.2 * float(table["images"].max()))
    ax.legend(fontsize=7, loc="lower right", title="dotted: estimated", title_fontsize=7)
