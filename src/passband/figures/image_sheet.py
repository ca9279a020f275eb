"""Test images with truth and predictions, a column for each condition."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure


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
    """Draw rows of image, truth, in-domain prediction and worst prediction.

    Args:
        samples: one a column.
        made: an empty figure.
    """
    axes = made.subplots(4, len(samples), squeeze=False)
    for j, sample in enumerate(samples):
        for i, mask in enumerate((None, sample.truth, sample.in_domain, sample.worst)):
            ax = axes[i, j]
            ax.imshow(sample.image.astype(np.float32), cmap="gray", vmin=-3, vmax=3)
            if mask is not None:
                shade = ListedColormap(["#d7301f" if i > 1 else "#1b9e77"])
                ax.imshow(np.ma.masked_where(~mask, mask), cmap=shade, alpha=0.45)
                if i > 1:
                    ax.contour(sample.truth, [0.5], colors="#2bd9fe", linewidths=0.6)
            ax.set_xticks([])
            ax.set_yticks([])
        axes[0, j].set_title(sample.label.replace(" ", "\n", 1), fontsize=7)
        axes[3, j].set_xlabel("trained at\n" + sample.worst_label, fontsize=6)
    for i, name in enumerate(("image", "truth", "network trained\nhere", "worst network")):
        axes[i, 0].set_ylabel(name, fontsize=7)
