"""A movie's drift, and its particles over time: how they grow, and where they go."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from passband.figures import style

# Tracks drawn one by one.
_MOST = 40


def _time(table: pl.DataFrame) -> tuple[str, str]:
    """Return the column of time and its label."""
    return ("time_s", "time [s]") if table["time_s"].null_count() == 0 else ("frame", "frame")


def _longest(tracks: pl.DataFrame) -> list[int]:
    """Return the numbers of the longest tracks."""
    sightings = tracks.group_by("track").len().sort(["len", "track"], descending=[True, False])
    return sorted(sightings["track"].head(_MOST).to_list())


def draw_drift(frames: pl.DataFrame, made: Figure) -> None:
    """Draw the place of the specimen, and how far it moves within a frame; frames that are left out as crosses.

    The table has frame, time_s, x_angstrom, y_angstrom, moved_angstrom and used.
    """
    left, right = made.subplots(1, 2)
    x, y, used = (frames[name].to_numpy() for name in ("x_angstrom", "y_angstrom", "used"))
    left.plot(x, y, color="0.7", linewidth=1)
    shown = left.scatter(x, y, c=frames["frame"].to_numpy(), cmap="viridis", s=10, zorder=2)
    style.colour_bar(shown, left, "frame")
    left.set(xlabel="drift, right [Å]", ylabel="drift, down [Å]", aspect="equal")
    left.invert_yaxis()
    column, label = _time(frames)
    when, moved = frames[column].to_numpy(), frames["moved_angstrom"].to_numpy()
    right.plot(when[used], moved[used], ".", color=style.BLUE, label=f"used ({used.sum()})")
    if not used.all():
        right.plot(when[~used], moved[~used], "x", color=style.ORANGE, label=f"left out ({(~used).sum()})")
    right.set(xlabel=label, ylabel="motion within a frame [Å]", ylim=(0, None))
    right.legend()


def draw_growth(tracks: pl.DataFrame, ax: Axes) -> None:
    """Draw the diameter of each particle that the edge never cuts, of the longest tracks if they are many, and the median of all.

    The table has track, frame, time_s, equivalent_diameter_angstrom and touches_edge.
    """
    column, label = _time(tracks)
    tracks = tracks.filter(~pl.col("touches_edge").any().over("track"))
    for number in _longest(tracks):
        one = tracks.filter(pl.col("track") == number)
        ax.plot(one[column].to_numpy(), one["equivalent_diameter_angstrom"].to_numpy() / 10, linewidth=0.8, alpha=0.7)
    middle = tracks.group_by(column).agg(pl.col("equivalent_diameter_angstrom").median())
    middle = middle.sort(column)
    ax.plot(
        middle[column].to_numpy(),
        middle["equivalent_diameter_angstrom"].to_numpy() / 10,
        "k",
        linewidth=2,
        label="median",
    )
    ax.set(xlabel=label, ylabel="equivalent diameter [nm]")
    ax.legend()


def draw_motion(tracks: pl.DataFrame, grey: NDArray[np.uint8], pixel_angstrom: float, ax: Axes) -> None:
    """Draw the path of each particle over the aligned sum in grey, whose pixels are given; the number is at the path's end."""
    h, w = grey.shape
    ax.imshow(grey, cmap="gray", extent=(0, w * pixel_angstrom, h * pixel_angstrom, 0))
    for number in _longest(tracks):
        one = tracks.filter(pl.col("track") == number)
        x, y = one["x_angstrom"].to_numpy(), one["y_angstrom"].to_numpy()
        ax.plot(x, y, color=style.TRUTH, linewidth=1.2)
        ax.plot(x[-1], y[-1], "o", color=style.PREDICTION, markersize=3)
        ax.annotate(str(number), (x[-1], y[-1]), (3, 3), textcoords="offset points", color="white", fontsize=7)
    ax.set_axis_off()
    style.scale_bar(ax)
