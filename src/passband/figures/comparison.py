"""A training and a test condition over |q|: what is lost, what is reversed."""

import polars as pl
from matplotlib.axes import Axes


def draw(table: pl.DataFrame, ax: Axes) -> None:
    """Draw mean |T| of both, and shade where information is lost or contrast reversed.

    Args:
        table: q_per_angstrom, train, test, lost, reversed.
        ax: where to draw.
    """
    q = table["q_per_angstrom"].to_numpy()
    for column, colour, name in (
        ("reversed", "#f2a33a", "contrast reversed"),
        ("lost", "#c1272d", "lost: less than half is kept"),
    ):
        ax.fill_between(
            q, 0, 1, where=table[column].to_numpy(), color=colour, alpha=0.22, linewidth=0, label=name,
            transform=ax.get_xaxis_transform(), step="mid",
        )  # fmt: skip
    ax.plot(q, table["train"], color="#2b5c8a", linewidth=1.4, label="training")
    ax.plot(q, table["test"], color="0.25", linewidth=1.2, linestyle="--", label="test")
    ax.set(xlim=(0, float(q[-1])), ylim=(0, 1), xlabel="spatial frequency |q| [1/Å]", ylabel="mean |T| over azimuth")
    ax.legend(fontsize=7, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
