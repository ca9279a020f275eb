"""What a kind of microscopy provides: what is stored of a specimen, and images of that under a condition.

HRTEM (`simulation/hrtem.py`) is the first. Another kind is another module with the same three names, `stored_shape`, `scatter` and
`Imager`; whatever makes images takes the protocol below and does not know which kind it has.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from passband.conditions import Condition


class Images(NamedTuple):
    """Images with their truth, on the CPU.

    Attributes:
        counts: electron counts, or mean intensities without a dose, float32, shape [N, n, n].
        masks: truth on the camera's pixels, bool, shape [N, n, n].
    """

    counts: Tensor
    masks: Tensor


class Imager(Protocol):
    """Makes images of stored specimens under one condition.

    Attributes:
        condition: how the specimens are imaged.
    """

    condition: Condition

    @property
    def pixels(self) -> int:
        """Pixels along a side of the image."""

    def check(self) -> None:
        """Refuse a condition that what is stored cannot serve.

        Raises:
            BadInputError: naming value, limit and remedy.
        """

    def warning(self) -> str | None:
        """Return a line about what images lack for the limits of what is stored, or None."""

    def intensity(self, stored: Tensor, orientations: Tensor | None = None) -> Tensor:
        """Return expected intensities on the camera's physical pixels, vacuum = 1, float32, on the device of what is stored.

        Args:
            stored: of B specimens, shape [B, ...].
            orientations: 0 to 7, shape [B], each specimen turned by its own (see `symmetry`); None leaves all as they are.
        """

    def record(self, intensity: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return counts with shot noise, shape [B, n, n]."""

    def images(self, stored: Tensor, masks: Tensor, *, seed: int) -> Images:
        """Return images of specimens with their truth; the same whatever the device.

        Args:
            stored: of N specimens, shape [N, ...].
            masks: bool, shape [N, m, m], on any grid of the field.
            seed: of the shot noise.
        """


def camera_masks(masks: Tensor, pixels: int) -> Tensor:
    """Return masks [N, n, n] at the places of the camera's pixels, shape [N, pixels, pixels]."""
    n = masks.shape[-1]
    nearest = (torch.arange(pixels) * n / pixels).round().long() % n
    return masks[:, nearest[:, None], nearest]
