"""A micrograph's power over spatial frequency, with the Thon rings that were fitted to it."""

import polars as pl
from matplotlib.axes import Axes

from passband.figures import style


def draw(table: pl.DataFrame, ax: Axes, information_limit_per_angstrom: float | None = None) -> None:
    """Draw q_per_angstrom and power, fit and background if rings were fitted, and the information limit [1/Å] as a line."""
    q = table["q_per_angstrom"]
    ax.plot(q, table["power"], color="0.6", linewidth=1, label="power")
    if "fit" in table.columns:
        ax.plot(q, table["fit"], color=style.ORANGE, linewidth=1.2, label="fit")
        ax.plot(q, table["background"], color="0.3", linewidth=0.8, linestyle="--", label="background")
    if information_limit_per_angstrom is not None:
        ax.axvline(information_limit_per_angstrom, color=style.BLUE, linewidth=0.8, label="information limit")
    ax.set(yscale="log", xlabel="spatial frequency [1/Å]", ylabel="power per pixel [intensity²]")
    ax.legend()
