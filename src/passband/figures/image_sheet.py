"""Test images with truth and predictions, a column for each condition."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from passband.figures import style

_ROWS = ("image", "truth", "network trained\nhere", "worst network")


@dataclass(frozen=True)
class Sample:
    """One specimen under one condition.

    Attributes:
        label: of the condition.
        image: network input, shape [n, n].
        truth: bool, shape [n, n].
        in_domain: prediction of a network trained under this condition, bool, shape [n, n].
        worst: prediction of the network with the highest loss under this condition.
        worst_label: the condition that one was trained under.
    """

    label: str
    image: np.ndarray
    truth: np.ndarray
    in_domain: np.ndarray
    worst: np.ndarray
    worst_label: str


def draw(samples: Sequence[Sample], made: Figure) -> None:
    """Draw a column for each sample, about 2 by 9 inches: image, truth, in-domain and worst prediction as outlines."""
    axes = made.subplots(4, len(samples), squeeze=False)
    for column, sample in zip(axes.T, samples, strict=True):
        for ax, mask in zip(column, (None, None, sample.in_domain, sample.worst), strict=True):
            ax.imshow(sample.image.astype(np.float32), cmap="gray", vmin=-3, vmax=3)
            if ax is not column[0]:
                _outline(ax, sample.truth, style.TRUTH)
            if mask is not None:
                _outline(ax, mask, style.PREDICTION)
            ax.set(xticks=[], yticks=[])
        column[0].set_title(style.minus(sample.label).replace(", ", ",\n"), fontsize=9)
        column[3].set_xlabel("trained at\n" + style.minus(sample.worst_label).replace(", ", ",\n"), fontsize=9)
    for ax, name in zip(axes[:, 0], _ROWS, strict=True):
        ax.set_ylabel(name, fontsize=10)


def _outline(ax: Axes, mask: np.ndarray, colour: str) -> None:
    # A contour of an empty or full mask would warn.
    if mask.any() and not mask.all():
        ax.contour(mask, [0.5], colors=colour, linewidths=1.4)
