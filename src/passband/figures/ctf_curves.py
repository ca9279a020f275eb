"""Transfer of the intensity over spatial frequency."""

import matplotlib
import polars as pl
from matplotlib.axes import Axes


def draw(table: pl.DataFrame, ax: Axes, column: str = "transfer") -> None:
    """Draw a curve for each condition.

    Args:
        table: label, q_per_angstrom and the column.
        ax: where to draw.
        column: transfer (signed, along +x) or magnitude (mean |T| over azimuth).

    A legend is left to the caller, who can put it where it hides no curve.
    """
    labels = table["label"].unique(maintain_order=True).to_list()
    colours = matplotlib.colormaps["coolwarm"]
    for i, label in enumerate(labels):
        rows = table.filter(pl.col("label") == label)
        shade = "#2b5c8a" if len(labels) == 1 else colours(i / (len(labels) - 1))
        ax.plot(rows["q_per_angstrom"], rows[column], linewidth=1.0, color=shade, label=label)
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set_xlabel("spatial frequency |q| [1/Å]")
    ax.set_ylabel("T(q)" if column == "transfer" else "mean |T(q)|")
    ax.set_xlim(0, float(table["q_per_angstrom"].max()))
    ax.set_ylim((-1.05, 1.05) if column == "transfer" else (0, 1.05))
