"""Simulated images over their masks, with a scale bar."""

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from passband.figures import style

_MOST = 8


def size(count: int) -> tuple[float, float]:
    """Return width and height of the sheet of some images [inches]."""
    return 1.6 * max(min(count, _MOST), 2), 3.6


def draw(images: NDArray[np.float32], masks: NDArray[np.bool_], pixel_size_angstrom: float, figure: Figure) -> None:
    """Draw the first of N images over their masks, both of shape [N, rows, columns], into a figure of their `size`."""
    shown = min(len(images), _MOST)
    axes = figure.subplots(2, shown, squeeze=False)
    height, width = (n * pixel_size_angstrom for n in images.shape[1:])
    for (upper, lower), image, mask in zip(axes.T, images[:shown], masks[:shown], strict=True):
        low, high = np.percentile(image, [0.5, 99.5])
        upper.imshow(image, cmap="gray", vmin=low, vmax=high, extent=(0, width, height, 0))
        lower.imshow(mask, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    for ax in axes.flat:
        ax.set_axis_off()
    style.scale_bar(axes[0, 0])
    many = f"the first {shown} of {len(images)}" if len(images) > shown else f"{shown}"
    figure.suptitle(
        f"{many} simulated image{'s' * (len(images) > 1)} of {width / 10:.3g} nm, over the particles", fontsize=9
    )
