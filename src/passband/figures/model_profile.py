"""How a model does over defocus and dose: Dice and zone under each condition that it was scored under."""

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from passband.figures import style

#: Marker of each zone; shapes tell them apart without colours.
MARKERS = {"stable": "o", "degraded": "s", "collapse": "X"}


def draw(table: pl.DataFrame, over_dose: Axes, over_defocus: Axes, stable_up_to: float, collapse_from: float) -> None:
    """Draw Dice over defocus and dose, and the relative loss over defocus with the limits of the zones.

    Args:
        table: defocus_angstrom, dose_per_angstrom2 (null without shot noise), dice, ratio (relative loss) and zone, a row per condition.
        over_dose: axes for the Dice.
        over_defocus: axes for the relative loss.
        stable_up_to: largest relative loss of the zone stable.
        collapse_from: smallest of the zone collapse.
    """
    noisy = table.filter(pl.col("dose_per_angstrom2").is_not_null())
    low = min(0.5, float(noisy["dice"].min() or 0.5)) if len(noisy) else 0.5
    for zone, marker in MARKERS.items():
        rows = noisy.filter(pl.col("zone") == zone)
        points = over_dose.scatter(
            rows["defocus_angstrom"], rows["dose_per_angstrom2"], 30, rows["dice"],
            marker=marker, cmap="viridis", vmin=low, vmax=1, edgecolors="0.3", linewidths=0.4, label=f"{zone} ({len(rows)})",
        )  # fmt: skip
        rows = table.filter(pl.col("zone") == zone)
        over_defocus.scatter(rows["defocus_angstrom"], rows["ratio"], 18, marker=marker, label=f"{zone} ({len(rows)})")
    over_dose.set_yscale("log")
    over_dose.set_ylabel("dose [e/Å²]")
    style.colour_bar(points, over_dose, "Dice")
    over_defocus.set_yscale("log")
    over_defocus.set_ylabel("loss / in-domain loss")
    for value, name in ((stable_up_to, "stable below"), (collapse_from, "collapse above")):
        over_defocus.axhline(value, color="0.4", linewidth=0.8, linestyle="--")
        over_defocus.annotate(
            name, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7.5
        )
    ticks = [t for t in (0.5, 0.7, 1, 1.5, 2, 3, 5, 10, 20, 50) if np.prod(np.array(over_defocus.get_ylim()) - t) < 0]
    over_defocus.set_yticks(ticks, [f"{t:g}" for t in ticks])
    over_defocus.minorticks_off()
    for axes in (over_dose, over_defocus):
        axes.set_xlabel("defocus [Å], positive = underfocus")
        axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3)
