"""What a kind of microscopy provides: what is stored of a specimen, and images of that under a condition.

HRTEM (`simulation/hrtem.py`) and STEM (`simulation/stem.py`) are modules with the names of `Modality`, listed in `simulation/modalities.py`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passband.conditions import AnyCondition
from passband.metrics.texture import Texture
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe, Specimen


class StoredSpecimen(NamedTuple):
    """What is stored of one specimen, complex64, and the shares of the beam that a multislice lost and left out."""

    values: np.ndarray
    lost_intensity: float = 0.0
    dropped_intensity: float = 0.0


class StoredConfig(Protocol):
    """How specimens are stored: a frozen model."""

    @property
    def targets(self) -> ExitWaveConfig:
        """The settings that masks and other targets are made with."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return the fields, JSON-like."""


class Modality(Protocol):
    """A kind of microscopy; `config` is how specimens are stored. Shapes are those of one modality throughout."""

    @property
    def STORED(self) -> str:
        """What is stored of specimens, in words."""

    def stored_shape(self, recipe: Recipe, config: Any) -> tuple[int, ...]:
        """Return the shape of what is stored of one specimen."""

    def check_memory(self, recipe: Recipe, config: Any, memory: int) -> None:
        """Refuse, by a BadInputError, a memory [bytes] in which a specimen cannot be made."""

    def store(
        self,
        recipe: Recipe,
        specimens: Sequence[Specimen],
        indices: Sequence[int],
        config: Any,
        *,
        device: torch.device,
        memory: int | None = None,
    ) -> list[StoredSpecimen]:
        """Return what is stored of specimens, on a device and within a memory [bytes]."""

    def scatter(self, recipe: Recipe, indices: Sequence[int], config: Any) -> tuple[Tensor, Tensor]:
        """Return what is stored of some specimens, complex64 [N, ...], and masks, bool [N, m, m]."""

    def power(self, stored: Tensor, conditions: Sequence[Any], recipe: Recipe, config: Any) -> tuple[Tensor, Tensor]:
        """Return |q| [1/Å] and the mean power spectral density [Å²] of stored specimens, as metrics weigh frequencies with."""

    def textures(
        self, sets: Sequence[Sequence[Any]], stored: Tensor, masks: Tensor, recipe: Recipe, config: Any
    ) -> Texture:
        """Return the texture of images of stored specimens under sets of conditions."""

    def imager(self, condition: Any, recipe: Recipe, config: Any) -> "Imager":
        """Return what makes images under a condition; a BadInputError if what is stored cannot serve it."""


class Imager(Protocol):
    """Makes images of stored specimens under one condition; see `hrtem.Imager` for shapes and errors."""

    @property
    def condition(self) -> AnyCondition:
        """The condition of its images."""

    @property
    def pixels(self) -> int:
        """Pixels along a side of the image."""

    @property
    def binning(self) -> int:
        """Physical pixels of the camera along a side of one of the image."""

    @property
    def is_round(self) -> bool:
        """Whether the image of a turned specimen is the turned image, always the same but for noise."""

    def check(self) -> None:
        """Refuse a condition that what is stored cannot serve."""

    def warning(self) -> str | None:
        """Return what is doubtful about images under the condition, or None."""

    def scan(self, count: int, generator: torch.Generator) -> Any:
        """Return how each of several images is distorted, drawn anew; None where images are not."""

    def intensity(self, stored: Tensor, orientations: Tensor | None = None, scan: Any = None) -> Tensor:
        """Return expected intensities of specimens, each turned by its own orientation (see `symmetry`) and distorted by its own scan."""

    def scanned(self, masks: Tensor, scan: Any) -> Tensor:
        """Return masks or maps [B, m, m] on the pixels of images, distorted as these are, shape [B, n, n]."""

    def record(
        self, intensity: Tensor, *, generator: torch.Generator, poisson: Callable[[Tensor, torch.Generator], Tensor]
    ) -> Tensor:
        """Return counts with shot noise, whose Poisson numbers a function draws of means and generator."""

    def images(self, stored: Tensor, masks: Tensor, *, seed: int) -> "Images":
        """Return images with noise of stored specimens, with their truth, from masks [N, m, m] on any grid of the field."""

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
