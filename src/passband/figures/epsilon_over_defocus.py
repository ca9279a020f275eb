"""Information transferred over defocus."""

import polars as pl
from matplotlib.axes import Axes


def draw(table: pl.DataFrame, ax: Axes, conditions: pl.DataFrame) -> None:
    """Draw ε of the base condition over defocus, and the study's conditions on it.

    Args:
        table: defocus_angstrom, epsilon.
        ax: where to draw.
        conditions: defocus_angstrom, epsilon of the study's conditions.
    """
    ax.plot(table["defocus_angstrom"], table["epsilon"], color="#2b5c8a", linewidth=1.2)
    ax.scatter(
        conditions["defocus_angstrom"],
        conditions["epsilon"],
        color="#c1272d",
        s=22,
        zorder=3,
        label="conditions of this study",
    )
    ax.set_xlabel("defocus [Å], positive = underfocus")
    ax.set_ylabel("ε, information transferred")
    ax.set_ylim(0, None)
    ax.set_title("ε over defocus")
    ax.legend(fontsize=7, loc="lower right")
