"""How large particles are: a histogram of their equivalent diameters."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw whole particles, and those cut by the image's edge lighter on top; the median of whole ones as a line.

    Args:
        table: equivalent_diameter_angstrom and touches_edge, a row per particle.
        ax: axes to draw into.
    """
    whole = table.filter(~pl.col("touches_edge"))["equivalent_diameter_angstrom"].to_numpy() / 10
    cut = table.filter(pl.col("touches_edge"))["equivalent_diameter_angstrom"].to_numpy() / 10
    largest = max([*whole, *cut, 1.0])
    edges = np.linspace(0, largest * 1.05, min(max(int(np.sqrt(len(table))) * 2, 8), 40) + 1)
    ax.hist(
        [whole, cut],
        edges.tolist(),
        stacked=True,
        color=["C0", "0.8"],
        label=[f"whole ({len(whole)})", f"cut by the edge ({len(cut)})"],
    )
    if len(whole):
        ax.axvline(
            float(np.median(whole)), color="0.2", linewidth=1, label=f"median of whole {np.median(whole):.2f} nm"
        )
    ax.set_xlabel("equivalent diameter [nm]")
    ax.set_ylabel("particles")
    ax.legend()
