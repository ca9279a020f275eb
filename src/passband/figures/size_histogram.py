"""How large particles are: a histogram of their equivalent diameters."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from numpy.typing import NDArray

from passband.figures import style


def diameters(table: pl.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the diameters [nm] of whole particles and of those cut by the image's edge, and edges of bins for both."""
    size, cut = table["equivalent_diameter_angstrom"].to_numpy() / 10, table["touches_edge"].to_numpy().astype(bool)
    bins = min(max(2 * int(np.sqrt(len(size))), 8), 40)
    return size[~cut], size[cut], np.linspace(0, 1.05 * max([*size, 1.0]), bins + 1)


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw whole particles, and those cut by the image's edge lighter on top; the median of whole ones as a line.

    The table has equivalent_diameter_angstrom and touches_edge, a row per particle.
    """
    whole, cut, edges = diameters(table)
    labels = [f"whole ({len(whole)})", f"cut by the edge ({len(cut)})"]
    ax.hist([whole, cut], edges.tolist(), stacked=True, color=[style.BLUE, "0.8"], label=labels)
    if len(whole):
        median = float(np.median(whole))
        ax.axvline(median, color=style.ORANGE, linewidth=1.5, label=f"median of whole {median:.2f} nm")
    ax.set(xlabel="equivalent diameter [nm]", ylabel="particles", ylim=(0, max(ax.get_ylim()[1], 1)))
    style.whole_numbers(ax.yaxis)
    ax.legend()
