"""Sheets of images: tests with truth and predictions, simulated images over their masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from passband.figures import style

_ROWS = ("image", "truth", "network trained\nhere", "worst network")
#: Simulated images that a sheet shows.
MOST_SIMULATED = 8


@dataclass(frozen=True)
class Sample:
    """One specimen under one condition: network input, truth, and predictions, each of shape [n, n]; truth and predictions bool, float or numbers of classes.

    One prediction is of a network that was trained under this condition, the other of that with the highest loss under it.
    """

    label: str
    image: np.ndarray
    truth: np.ndarray
    in_domain: np.ndarray
    worst: np.ndarray
    worst_label: str


def draw_tests(
    samples: Sequence[Sample], made: Figure, quantity: str = "particles", classes: Sequence[str] = ()
) -> None:
    """Draw a column for each sample, about 2 by 9 inches: image, truth, in-domain and worst prediction.

    Masks are drawn as outlines on the image, other predictions of a quantity as maps on one scale, classes in a colour each.
    """
    if samples[0].truth.dtype != bool:
        _draw_maps(samples, made, quantity, classes)
        return
    axes = made.subplots(4, len(samples), squeeze=False)
    for column, sample in zip(axes.T, samples, strict=True):
        for ax, mask in zip(column, (None, None, sample.in_domain, sample.worst), strict=True):
            ax.imshow(sample.image.astype(np.float32), cmap="gray", vmin=-3, vmax=3)
            if ax is not column[0]:
                _outline(ax, sample.truth, style.TRUTH)
            if mask is not None:
                _outline(ax, mask, style.PREDICTION)
    _label(axes, samples)


def _label(axes: NDArray[Any], samples: Sequence[Sample]) -> None:
    for column, sample in zip(axes.T, samples, strict=True):
        for ax in column:
            ax.set(xticks=[], yticks=[])
        column[0].set_title(style.minus(sample.label).replace(", ", ",\n"), fontsize=9)
        column[3].set_xlabel("trained at\n" + style.minus(sample.worst_label).replace(", ", ",\n"), fontsize=9)
    for ax, name in zip(axes[:, 0], _ROWS, strict=True):
        ax.set_ylabel(name, fontsize=10)


def _draw_maps(samples: Sequence[Sample], made: Figure, quantity: str, classes: Sequence[str]) -> None:
    axes = made.subplots(4, len(samples), squeeze=False)
    low, high = (float(f([sample.truth for sample in samples])) for f in (np.min, np.max))
    colours = style.class_colours(len(classes)) if classes else {"cmap": "viridis", "vmin": low, "vmax": high}
    for column, sample in zip(axes.T, samples, strict=True):
        column[0].imshow(sample.image.astype(np.float32), cmap="gray", vmin=-3, vmax=3)
        for ax, values in zip(column[1:], (sample.truth, sample.in_domain, sample.worst), strict=True):
            picture = ax.imshow(values, **colours)
    _label(axes, samples)
    bar = made.colorbar(picture, ax=axes[1:], label=None if classes else quantity, shrink=0.5, pad=0.01)
    if classes:
        bar.set_ticks(range(len(classes)), labels=classes)


def simulated_size(count: int) -> tuple[float, float]:
    """Return width and height of the sheet of some simulated images [inches]."""
    return 1.6 * max(min(count, MOST_SIMULATED), 2), 3.6


def draw_simulated(
    images: NDArray[np.float32], masks: NDArray[np.bool_], pixel_size_angstrom: float, figure: Figure
) -> None:
    """Draw the first of N images over their masks, both of shape [N, rows, columns], into a figure of `simulated_size`."""
    shown = min(len(images), MOST_SIMULATED)
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
    title = f"{many} simulated image{'s' * (len(images) > 1)} of {width / 10:.3g} nm, over the particles"
    figure.suptitle(title, fontsize=9)


def _outline(ax: Axes, mask: np.ndarray, colour: str) -> None:
    # A contour of an empty or full mask would warn.
    if mask.any() and not mask.all():
        ax.contour(mask, [0.5], colors=colour, linewidths=1.4)
