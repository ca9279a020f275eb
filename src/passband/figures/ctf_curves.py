"""Transfer of the intensity over spatial frequency."""

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style


def draw(table: pl.DataFrame, ax: Axes, column: str = "transfer") -> None:
    """Draw a curve for each condition of a table of label, q_per_angstrom and transfer (along +x) or magnitude (mean |T| over azimuth).

    The caller adds a legend where it hides none.
    """
    labels = table["label"].unique(maintain_order=True)
    for label, colour in zip(labels, style.in_order(len(labels)), strict=True):
        rows = table.filter(pl.col("label") == label)
        ax.plot(rows["q_per_angstrom"], rows[column], linewidth=1.0, color=colour, label=style.minus(label))
    ax.axhline(0, color="0.5", linewidth=0.6)
    signed = column == "transfer"
    ax.set(xlabel="spatial frequency |q| [1/Å]", xlim=(0, float(table["q_per_angstrom"].max())))
    ax.set(ylabel="T(q)" if signed else "mean |T(q)|", ylim=(-1.05 if signed else 0, 1.05))
