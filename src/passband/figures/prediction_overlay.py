"""A predicted map, or predicted places, over a micrograph."""

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from passband.figures import style

#: Width and height of the figure [inches].
SIZE = (7.2, 6.0)
# Opacity where the map is highest.
_OPAQUE = 0.75
# Opacity of a class.
_CLASS = 0.5


def draw(
    made: Figure,
    grey: NDArray[np.uint8],
    extent_angstrom: tuple[float, float],
    predicted: NDArray[np.float32] | NDArray[np.uint8] | None,
    quantity: str,
    places: pl.DataFrame | None,
    classes: tuple[str, ...] = (),
) -> None:
    """Draw a micrograph in grey [h, w] of this height and width [Å] with a scale bar, and what is predicted of it.

    Of places (x_angstrom, y_angstrom) a circle each; of a map [h, w] colours, the more opaque the higher, or a colour a class with a legend.
    """
    ax, (height, width) = made.subplots(), extent_angstrom
    box = (0.0, width, height, 0.0)
    ax.imshow(grey, cmap="gray", extent=box)
    if places is not None:
        # A column is some 1.2 Å from the next.
        size = max(72 * 0.9 * SIZE[1] * 0.8 / max(height, width), 1.5)
        ax.plot(
            places["x_angstrom"],
            places["y_angstrom"],
            "o",
            color=style.PREDICTION,
            ms=size,
            mfc="none",
            mew=max(size / 4, 0.5),
        )
        ax.set_title(f"{len(places)} {quantity}")
    elif predicted is not None and classes:
        ax.imshow(
            predicted,
            **style.class_colours(len(classes)),
            extent=box,
            alpha=(predicted > 0) * _CLASS,
            interpolation="nearest",
        )
        style.class_legend(ax, classes[1:])
    elif predicted is not None:
        low, high = min(float(predicted.min()), 0.0), max(float(np.percentile(predicted, 99.9)), 1e-6)
        opacity = np.clip(predicted / high, 0, 1) * _OPAQUE
        picture = ax.imshow(predicted, cmap="viridis", vmin=low, vmax=high, extent=box, alpha=opacity)
        made.colorbar(picture, ax=ax, label=quantity, shrink=0.8)
    ax.set(xlim=(0, width), ylim=(height, 0))
    ax.set_axis_off()
    style.scale_bar(ax)
