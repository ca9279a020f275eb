"""What one condition transfers: curve with envelopes, map of T, Thon rings."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure

from passband.figures import style


def draw(curve: pl.DataFrame, plane: np.ndarray, figure: Figure, q_max: float, *, round_: bool) -> None:
    """Draw T(q) along +x between its envelopes, the map of T, and the rings of |T|² that an amorphous film would show.

    Args:
        curve: q_per_angstrom, transfer, envelope, magnitude.
        plane: T over a square of side 2 q_max, qx along the first axis.
        figure: where to draw.
        q_max: radius of the band [1/Å].
        round_: False names the direction of the curve, and adds the mean over all.
    """
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.15))
    ax = figure.add_subplot(grid[0, :])
    q, envelope = curve["q_per_angstrom"], curve["envelope"]
    ax.plot(q, envelope, color="0.6", linewidth=0.9, linestyle="--", label="envelopes")
    ax.plot(q, -envelope, color="0.6", linewidth=0.9, linestyle="--")
    ax.plot(q, curve["transfer"], color=style.BLUE, linewidth=1.3, label="T(q)" if round_ else "T(q) along +x")
    if not round_:
        ax.plot(q, curve["magnitude"], color=style.ORANGE, linewidth=1.0, label="mean |T| over azimuth")
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set(xlim=(0, q_max), ylim=(-1.05, 1.05), xlabel="spatial frequency |q| [1/Å]", ylabel="transfer T")
    ax.legend(fontsize=7, ncols=3, loc="lower right")
    for place, values, name, lowest, colours in (
        (grid[1, 0], plane, "T, sign of the contrast", -1, "RdBu_r"),
        (grid[1, 1], plane**2, "Thon rings: |T|²", 0, "gray"),
    ):
        ax = figure.add_subplot(place)
        # As a picture: qx to the right, qy downwards.
        extent = (-q_max, q_max, q_max, -q_max)
        drawn = ax.imshow(values.T, extent=extent, vmin=lowest, vmax=1, cmap=colours)
        ax.set(title=name, xlabel="qx [1/Å]", ylabel="qy [1/Å]")
        figure.colorbar(drawn, ax=ax, shrink=0.85)
