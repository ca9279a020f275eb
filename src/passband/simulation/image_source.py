"""Network input, made on the fly from exit waves; no image is written to disk to train."""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from passband.simulation import symmetry
from passband.simulation.imaging import normalize
from passband.simulation.modality import Imager, camera_masks


class Source(Protocol):
    """Network input drawn from a set of specimens: an `ImageSource`, or several mixed."""

    device: torch.device

    def __len__(self) -> int:
        """Return the number of specimens."""

    def begin(self, share: float) -> None:
        """Curriculum hook, called before each epoch with the share of the training that is over."""

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth."""


class ImageSource:
    """Images of N specimens under one condition, with fresh shot noise at every call, made on the waves' device.

    A round condition images a turned specimen as the turned image, so the expected intensities are computed once and
    cached, at 4 bytes a pixel. Under any other condition they are formed at every call. `masks` are the truth on the
    camera's pixels, bool, [N, n, n].
    """

    def __init__(self, stored: Tensor, masks: Tensor, imager: Imager, *, cache: bool = True):
        """Prepare the source, of what is stored, [N, ...], and masks, bool [N, m, m], on any grid of the field.

        With `cache`, intensities under a round condition are computed once and stay in memory.

        Raises:
            BadInputError: if the waves' stored band does not suffice for the condition.
        """
        imager.check()
        self._stored, self._imager, self.condition, self.device = stored, imager, imager.condition, stored.device
        self.masks = camera_masks(masks, imager.pixels).to(self.device)
        self._cached = imager.intensity(stored) if cache and imager.condition.is_round else None

    def __len__(self) -> int:
        """Return the number of specimens."""
        return len(self._stored)

    def intensity(self, specimens: Tensor, orientations: Tensor) -> Tensor:
        """Return expected intensities, vacuum = 1, of specimens turned by orientations 0 to 7, both of shape [B]."""
        specimens, orientations = self._here(specimens), self._here(orientations)
        if self._cached is None:
            return self._imager.intensity(self._stored[specimens], orientations)
        return symmetry.turn_each(self._cached[specimens], orientations, self.condition.detector.binning)

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth of specimens [B], each turned by its orientation [B], float32, [B, 1, n, n].

        The generator of the shot noise is on the device of what is stored.
        """
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        counts = self._imager.record(self.intensity(specimens, turns), generator=generator)
        masks = symmetry.turn_each(self.masks[self._here(specimens)], self._here(turns))
        return normalize(counts)[:, None], masks[:, None].float()

    def begin(self, share: float) -> None:
        """Curriculum hook; does nothing for a single condition."""

    def _here(self, indices: Tensor) -> Tensor:
        # Without waiting for what the device is at.
        return indices.to(self.device, non_blocking=True)


class MixedSource:
    """Images of N specimens under several conditions, one drawn anew for every image."""

    def __init__(self, sources: Sequence[ImageSource], *, curriculum: bool = False):
        """Mix sources of the same specimens on the same pixels, one a condition.

        With a curriculum, training begins with the first alone and the others join in their order over its first half.
        """
        self._sources, self._curriculum, self.device = sources, curriculum, sources[0].device
        self._open = len(sources)

    def __len__(self) -> int:
        """Return the number of specimens."""
        return len(self._sources[0])

    def begin(self, share: float) -> None:
        """Curriculum hook: open the sources that have joined by this share of the training."""
        if self._curriculum:
            self._open = max(math.ceil(len(self._sources) * min(2 * share, 1.0)), 1)

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth as `ImageSource.batch` does."""
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        drawn = torch.randint(self._open, (len(specimens),), generator=generator, device=self.device).to(
            specimens.device
        )
        parts, places = [], []
        for i in drawn.unique().tolist():
            chosen = (drawn == i).nonzero()[:, 0]
            parts.append(self._sources[i].batch(specimens[chosen], turns[chosen], generator=generator))
            places.append(chosen)
        back = torch.cat(places).argsort().to(self.device)
        images, masks = (torch.cat(tensors)[back] for tensors in zip(*parts, strict=True))
        return images, masks
