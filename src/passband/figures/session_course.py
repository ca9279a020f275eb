"""What a session's images show, over time."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from passband.figures import style

#: Colour and marker of each verdict, as on the contact sheet.
VERDICTS = {"yes": ("#009e73", "o"), "no": ("#d55e00", "X"), "cannot say": ("#5b6875", "s")}
_NO_VERDICT = ("#9aa5b1", "o")


def draw(table: pl.DataFrame, figure: Figure) -> None:
    """Draw Dice with its interval, |defocus| [Å], mean diameter [nm] and particles of a run's table with a column `time`.

    The colour is the verdict's; bars are the intervals of Dice and defocus, and the standard deviation of the diameters.
    """
    panels = (
        ("Dice, predicted", "dice", "dice_low", "dice_high", 1.0),
        ("|defocus| [Å]", "defocus_angstrom", "defocus_low_angstrom", "defocus_high_angstrom", 1.0),
        ("mean diameter [nm]", "mean_diameter_angstrom", "low", "high", 0.1),
        ("particles", "particles", None, None, 1.0),
    )
    mean, deviation = pl.col("mean_diameter_angstrom"), pl.col("diameter_deviation_angstrom")
    rows = table.sort("time").with_columns(low=mean - deviation, high=mean + deviation)
    axes = figure.subplots(len(panels), 1, sharex=True)
    for ax, (label, column, low, high, factor) in zip(axes, panels, strict=True):
        _panel(ax, rows.drop_nulls(column), column, low, high, factor)
        ax.set_ylabel(label)
        ax.grid(visible=True, axis="y", color="#e6eaee", linewidth=0.8)
    axes[0].set_ylim(-0.03, 1.03)
    axes[-1].set_ylim(bottom=-0.3)
    style.whole_numbers(axes[-1].yaxis)
    # An image without a verdict's Dice may have a defocus.
    drawn = {label: handle for ax in axes for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    named = {label: drawn[label] for label in VERDICTS if label in drawn}
    if named:
        figure.legend(named.values(), named.keys(), loc="outside upper right", ncols=3, fontsize=8)
    locator = AutoDateLocator(minticks=3, maxticks=8)
    axes[-1].xaxis.set_major_locator(locator)
    # Of seconds alone nobody could tell the time.
    formats = ["%Y", "%b", "%d", "%H:%M", "%H:%M", "%H:%M:%S"]
    axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator, formats=formats))


def _panel(ax: Axes, rows: pl.DataFrame, column: str, low: str | None, high: str | None, factor: float) -> None:
    ax.plot(rows["time"].to_list(), rows[column].to_numpy() * factor, color="#c7cfd7", linewidth=0.8, zorder=1)
    for verdict in [*VERDICTS, None]:
        part = rows.filter(pl.col("verdict").eq_missing(verdict))
        if not len(part):
            continue
        colour, marker = VERDICTS.get(verdict or "", _NO_VERDICT)
        value = part[column].to_numpy().astype(float)
        look: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4, "elinewidth": 0.9, "linestyle": ""}
        if low is not None and high is not None:
            below, above = value - part[low].to_numpy(), part[high].to_numpy() - value
            look["yerr"] = np.nan_to_num(np.maximum([below, above], 0)) * factor
        ax.errorbar(part["time"].to_list(), value * factor, label=verdict, **look)
