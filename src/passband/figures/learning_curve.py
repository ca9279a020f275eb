"""Scores against the number of labelled images."""

import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from passband.figures import style


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw each score of a table of images, kind (measured or estimated), score, value, low and high; estimates are hollow and dashed."""
    shown = table["score"].unique(maintain_order=True).to_list()
    for i, (score, colour, marker) in enumerate(zip(shown, style.GROUPS, style.MARKERS, strict=False)):
        rows = table.filter(pl.col("score") == score)
        measured = rows.filter(pl.col("kind") == "measured")
        # The same numbers of images, side by side.
        aside = 1 + 0.05 * (i - (len(shown) - 1) / 2)
        for part, look in (
            (measured, {"linestyle": "-", "label": score}),
            (
                pl.concat([measured[-1:], rows.filter(pl.col("kind") == "estimated")]),
                {"linestyle": ":", "markerfacecolor": "white", "zorder": 1.9},
            ),
        ):
            value = part["value"].to_numpy()
            bars = value - part["low"].to_numpy(), part["high"].to_numpy() - value
            x = part["images"].to_numpy() * aside
            ax.errorbar(
                x, value, bars, color=colour, marker=marker, markersize=4, linewidth=1.2, elinewidth=0.8, **look
            )
    ax.set_xscale("symlog", base=2, linthresh=1)
    ax.xaxis.set_major_locator(FixedLocator(table["images"].unique().sort().to_list()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(ScalarFormatter())
    ax.set(xlabel="labelled images that the model was tuned on", ylabel="score of held-out images")
    ax.set_xlim(-0.2, 1.2 * float(table["images"].max()))
    ax.legend(fontsize=7, loc="lower right", title="dotted: estimated", title_fontsize=7)
