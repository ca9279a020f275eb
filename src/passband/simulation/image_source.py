"""Network input, made on the fly from exit waves; no image is written to disk to train."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from passband.conditions import Condition
from passband.simulation import symmetry
from passband.simulation.imaging import (
    ImageGrid,
    camera_on_grid,
    expected_intensity,
    normalize,
    record,
    transfer_on_grid,
)

_CHUNK = 16


class ImageSource:
    """Images of N specimens under one condition, with fresh shot noise at every call.

    A round condition images a turned specimen as the turned image, so the expected intensities are computed once and
    kept, at 4 bytes a pixel. Under any other condition they are formed at every call. All is done on the waves' device.

    Attributes:
        condition: how the specimens are imaged.
        masks: truth on the camera's pixels, bool, shape [N, n, n].
        device: where the images are made.
    """

    def __init__(self, waves: Tensor, masks: Tensor, condition: Condition, grid: ImageGrid, *, keep: bool = True):
        """Prepare the source.

        Args:
            waves: coefficients of the exit waves, complex64, shape [N, P, K].
            masks: bool, shape [N, n, n], on the multislice grid.
            condition: the imaging condition.
            grid: grids of the image.
            keep: whether intensities under a round condition are computed once and kept.

        Raises:
            BadInputError: if the grid cannot carry the condition.
        """
        self._waves, self.condition, self._grid, self.device = waves, condition, grid, waves.device
        self.masks = camera_masks(masks, grid.pixels).to(self.device)
        turns = [symmetry.matrix(o) for o in range(1 if condition.is_round and keep else symmetry.ORIENTATIONS)]
        self._transfers = torch.stack([transfer_on_grid(condition, grid, turn) for turn in turns]).to(self.device)
        cameras = [c for c in (camera_on_grid(condition, grid, turn) for turn in turns) if c is not None]
        self._cameras = torch.stack(cameras).to(self.device) if cameras else None
        self._kept: Tensor | None = None
        if condition.is_round and keep:
            camera = None if self._cameras is None else self._cameras[0]
            chunks = [expected_intensity(chunk, self._transfers[0], grid, camera) for chunk in waves.split(_CHUNK)]
            self._kept = torch.cat(chunks)

    def __len__(self) -> int:
        """Return the number of specimens."""
        return len(self._waves)

    def intensity(self, specimens: Tensor, orientations: Tensor) -> Tensor:
        """Return expected intensities of turned specimens, vacuum = 1, on the camera's physical pixels.

        Args:
            specimens: indices, shape [B].
            orientations: 0 to 7, shape [B].
        """
        specimens, orientations = specimens.to(self.device), orientations.to(self.device)
        if self._kept is not None:
            images = self._kept[specimens]
        else:
            camera = None if self._cameras is None else self._cameras[orientations]
            images = expected_intensity(self._waves[specimens], self._transfers[orientations], self._grid, camera)
        return symmetry.turn_each(images, orientations, self.condition.detector.binning)

    def counts(self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator) -> Tensor:
        """Return images with shot noise, shape [B, n, n]; without orientations the specimens are as they are."""
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        return record(self.intensity(specimens, turns), self.condition, generator=generator)

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth, both float32, shape [B, 1, n, n].

        Args:
            specimens: indices, shape [B].
            orientations: 0 to 7, shape [B]; None leaves the specimens as they are.
            generator: source of the shot noise, on the waves' device.
        """
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        images = normalize(self.counts(specimens, turns, generator=generator))
        masks = symmetry.turn_each(self.masks[specimens.to(self.device)], turns.to(self.device))
        return images[:, None], masks[:, None].float()

    def begin(self, share: float) -> None:
        """Take note that this share of the training is over; one condition is the same all along."""


class MixedSource:
    """Images of N specimens under several conditions; under which, is drawn anew for every image.

    Attributes:
        device: where the images are made.
    """

    def __init__(self, sources: Sequence[ImageSource], *, one_by_one: bool = False):
        """Mix sources.

        Args:
            sources: of the same specimens on the same pixels, one a condition.
            one_by_one: whether training begins with the first alone and the others join in their order over its first half.
        """
        self._sources, self._one_by_one, self.device = sources, one_by_one, sources[0].device
        self._open = len(sources)

    def __len__(self) -> int:
        """Return the number of specimens."""
        return len(self._sources[0])

    def begin(self, share: float) -> None:
        """Take note that this share of the training is over."""
        if self._one_by_one:
            self._open = max(math.ceil(len(self._sources) * min(2 * share, 1.0)), 1)

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth, as `ImageSource.batch` does."""
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        drawn = torch.randint(self._open, (len(specimens),), generator=generator, device=self.device).to(
            specimens.device
        )
        parts, places = [], []
        for i in drawn.unique().tolist():
            own = (drawn == i).nonzero()[:, 0]
            parts.append(self._sources[i].batch(specimens[own], turns[own], generator=generator))
            places.append(own)
        back = torch.cat(places).argsort().to(self.device)
        images, masks = (torch.cat(tensors)[back] for tensors in zip(*parts, strict=True))
        return images, masks


def camera_masks(masks: Tensor, pixels: int) -> Tensor:
    """Return masks [N, n, n] at the places of the camera's pixels, shape [N, pixels, pixels]."""
    n = masks.shape[-1]
    nearest = (torch.arange(pixels) * n / pixels).round().long() % n
    return masks[:, nearest[:, None], nearest]
