"""What a kind of microscopy provides: what is stored of a specimen, and images of that under a condition.

HRTEM (`simulation/hrtem.py`) is the first. Another kind is another module with the same names: `stored_shape`, `scatter`, and an
`Imager` whose images training draws through the protocol below.
"""

from typing import NamedTuple, Protocol

import torch
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

    def record(self, intensity: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return counts with shot noise."""


class Images(NamedTuple):
    """Images with their truth, on the CPU.

    Attributes:
        counts: electron counts, or mean intensities without a dose, float32, shape [N, n, n].
        masks: truth on the camera's pixels, bool, shape [N, n, n].
    """

    counts: Tensor
    masks: Tensor


def camera_masks(masks: Tensor, pixels: int) -> Tensor:
    """Return masks [N, n, n] at the places of the camera's pixels, shape [N, pixels, pixels]."""
    n = masks.shape[-1]
    nearest = (torch.arange(pixels) * n / pixels).round().long() % n
    return masks[:, nearest[:, None], nearest]
