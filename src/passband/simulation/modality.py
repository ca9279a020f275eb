"""What a kind of microscopy provides: what is stored of a specimen, and images of that under a condition.

HRTEM (`simulation/hrtem.py`) is the first. Another kind is another module with the same names: `stored_shape`, `scatter`, and an
`Imager` whose images training draws through the protocol below.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passband.conditions import Condition


class Imager(Protocol):
    """Makes images of stored specimens under one condition; see `hrtem.Imager` for shapes and errors."""

    condition: Condition

    @property
    def pixels(self) -> int:
        """Pixels along a side of the image."""

    def check(self) -> None:
        """Refuse a condition that what is stored cannot serve."""

    def intensity(self, stored: Tensor, orientations: Tensor | None = None) -> Tensor:
        """Return expected intensities of specimens, each turned by its own orientation (see `symmetry`)."""

    def record(
        self, intensity: Tensor, *, generator: torch.Generator, poisson: Callable[[Tensor, torch.Generator], Tensor]
    ) -> Tensor:
        """Return counts with shot noise, whose Poisson numbers a function draws of means and generator."""

    @staticmethod
    def joint(imagers: Sequence[Any], device: torch.device) -> "JointImager":
        """Return what makes images of all at once, for a GPU; a ValueError where they cannot be."""


class JointImager(Protocol):
    """Makes a batch of images, each under a condition of its own, in one pass; see `hrtem.JointImager`."""

    def intensity(self, stored: Tensor, which: Tensor, orientations: Tensor) -> Tensor:
        """Return expected intensities of specimens, each under its own condition and turned by its own orientation."""

    def record(
        self,
        intensity: Tensor,
        which: Tensor,
        generators: Sequence[torch.Generator],
        *,
        poisson: Callable[[Tensor, torch.Generator], Tensor],
    ) -> Tensor:
        """Return counts with shot noise, of each share of the batch from a generator of its own."""


class Images(NamedTuple):
    """Counts of electrons (mean intensities without a dose), float32, and masks, bool, on the CPU, both of shape [N, x, y]."""

    counts: Tensor
    masks: Tensor

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return counts and masks as pictures, shape [N, rows, columns]: x runs along the columns, y along the rows.

        Inside, x is the first axis of an image, as of a wave; every image, mask or label that leaves passband is turned by this or its like.
        """
        return self.counts.transpose(1, 2).numpy(), self.masks.transpose(1, 2).numpy()


def camera_masks(masks: Tensor, pixels: int) -> Tensor:
    """Return masks [N, n, n] at the places of the camera's pixels, shape [N, pixels, pixels]."""
    n = masks.shape[-1]
    nearest = (torch.arange(pixels) * n / pixels).round().long() % n
    return masks[:, nearest[:, None], nearest]
