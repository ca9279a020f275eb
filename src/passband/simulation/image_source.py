"""Network input, made on the fly from exit waves; no image is written to disk to train."""

import itertools
import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from passband.simulation import symmetry
from passband.simulation.imaging import normalize
from passband.simulation.modality import Imager, camera_masks
from passband.simulation.poisson import fast_poisson

Key = TypeVar("Key")


class ImageSource:
    """Images of N specimens under one condition, with fresh shot noise at every call, made on the waves' device.

    A round condition images a turned specimen as the turned image, so with `cache` the expected intensities are computed
    once and stay in memory, at 4 bytes a pixel. Under any other condition they are formed at every call. `masks` are the
    truth on the camera's pixels, bool or float32 [N, n, n], or one value for all pixels of an image, [N, 1, 1].
    """

    def __init__(self, stored: Tensor, masks: Tensor, imager: Imager, *, cache: bool = True):
        """Prepare the source, after `Imager.check`, of what is stored, [N, ...], and the truth, [N, m, m] on any grid of the field or [N, 1, 1]."""
        imager.check()
        self._stored, self._imager, self.condition, self.device = stored, imager, imager.condition, stored.device
        self.masks = (camera_masks(masks, imager.pixels) if masks.shape[-1] > 1 else masks).to(self.device)
        self._cached = imager.intensity(stored) if cache and imager.is_round else None

    @property
    def parts(self) -> "Sequence[ImageSource]":
        """This source alone."""
        return [self]

    @property
    def memory(self) -> Hashable:
        """Which memory holds what is stored: sources of one memory image the same specimens."""
        return self._stored.data_ptr(), self._stored.shape, self._stored.stride()

    @property
    def binning(self) -> int:
        """Physical pixels of the camera along a side of a pixel."""
        return self._imager.binning

    @property
    def pixels(self) -> int:
        """Pixels along a side of an image."""
        return self._imager.pixels

    def places(self, specimens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the part that images each of specimens [B], here 0, and the specimen's place in it."""
        return torch.zeros_like(specimens), specimens

    def __len__(self) -> int:
        return len(self._stored)

    def intensity(self, specimens: Tensor, orientations: Tensor, scan: Any = None) -> Tensor:
        """Return expected intensities, vacuum = 1, of specimens turned by orientations 0 to 7, both of shape [B], and scanned."""
        if self._cached is None:
            return self._imager.intensity(self._stored[specimens], orientations, scan)
        return symmetry.turn_each(self._cached[specimens], orientations, self.binning)

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth of specimens [B], each turned by its orientation [B], float32, [B, 1, n, n].

        The generator of the shot noise is on the device of what is stored.
        """
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        # Without waiting for what the device is at.
        specimens, turns = (indices.to(self.device, non_blocking=True) for indices in (specimens, turns))
        scan = self._imager.scan(len(specimens), generator)
        counts = self._imager.record(self.intensity(specimens, turns, scan), generator=generator, poisson=fast_poisson)
        masks = symmetry.turn_each(self.masks[specimens], turns).expand_as(counts)
        if scan is not None:
            masks = self._imager.scanned(masks, scan)
        return normalize(counts)[:, None], masks[:, None].float()

    def begin(self, share: float) -> None:
        """Curriculum hook; does nothing for a single condition."""


class MixedSource:
    """Images of N specimens under several conditions, one drawn anew for every image."""

    def __init__(self, sources: Sequence[ImageSource], *, curriculum: bool = False):
        """Mix sources of the same specimens on the same pixels, one a condition.

        With a curriculum, training begins with the first alone and the others join in their order over its first half.
        """
        self.parts, self._curriculum, self.device = sources, curriculum, sources[0].device
        self._open = len(sources)

    def __len__(self) -> int:
        return len(self.parts[0])

    def begin(self, share: float) -> None:
        """Curriculum hook: open the sources that have joined by this share of the training."""
        if self._curriculum:
            self._open = max(math.ceil(len(self.parts) * min(2 * share, 1.0)), 1)

    def places(self, specimens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return which of the open parts images each of specimens [B], drawn anew, and the specimen's place in it."""
        drawn = torch.randint(self._open, specimens.shape, generator=generator, device=generator.device)
        return drawn, specimens

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth as `ImageSource.batch` does."""
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        return _from_parts(self.parts, *self.places(specimens, generator), turns, generator, self.device)


class AlternatingSource:
    """Images of N specimens that take turns: each is always under one of several conditions, the first under the first."""

    def __init__(self, parts: Sequence[ImageSource]):
        """Join sources of every M-th specimen on the same pixels, one a condition: part m has specimens m, m + M, and so on."""
        self.parts, self.device = parts, parts[0].device

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def begin(self, share: float) -> None:
        """Curriculum hook; does nothing."""

    def places(self, specimens: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the part that images each of specimens [B], and the specimen's place in it."""
        return specimens % len(self.parts), specimens // len(self.parts)

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth as `ImageSource.batch` does."""
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        return _from_parts(self.parts, *self.places(specimens, generator), turns, generator, self.device)


def _from_parts(
    parts: Sequence[ImageSource],
    which: Tensor,
    specimens: Tensor,
    orientations: Tensor,
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Return network input and truth, [B, 1, n, n], of specimens [B] of parts [B], part by part and in their order."""
    which, specimens, orientations = which.cpu(), specimens.cpu(), orientations.cpu()
    used = which.unique().tolist()
    places = [(which == i).nonzero()[:, 0] for i in used]
    batches = [
        parts[i].batch(specimens[chosen], orientations[chosen], generator=generator)
        for i, chosen in zip(used, places, strict=True)
    ]
    back = torch.cat(places).argsort().to(device)
    images, masks = (torch.cat(tensors)[back] for tensors in zip(*batches, strict=True))
    return images, masks


#: Network input drawn from a set of specimens.
Source = ImageSource | MixedSource | AlternatingSource


class JointSource:
    """The sources of many networks as one: images for all of them in one pass over the device.

    To rounding, they are the images that each source would give.
    """

    def __init__(self, sources: Sequence[Source]):
        """Join sources on the same grids; a ValueError if one pass cannot make images under all their conditions."""
        self._sources, self._device = sources, sources[0].device
        parts = [part for source in sources for part in source.parts]
        # Networks that differ in their seed share a condition, and most share their specimens.
        imagers = {part.condition.id: part._imager for part in reversed(parts)}
        self._imager = parts[0]._imager.joint(list(imagers.values()), self._device)
        specimens = {part.memory: part for part in parts}
        pairs = {(part.memory, part.condition.id): part for part in parts}
        # Where all expected intensities are in memory, waves are not needed.
        cached = [part._cached for part in pairs.values()]
        self._cached = None if any(c is None for c in cached) else _joined([c for c in cached if c is not None])
        self._stored = None if self._cached is not None else _joined([part._stored for part in specimens.values()])
        # One value for all pixels is of the condition, and not of the specimen alone.
        self._of_pairs = parts[0].masks.shape[-1] == 1
        self._masks = _joined([part.masks for part in (pairs if self._of_pairs else specimens).values()])
        condition = dict(zip(imagers, itertools.count(), strict=False))
        specimen, pair = _firsts(specimens), _firsts(pairs)
        # Of each source's parts: condition, first specimen, and first intensity.
        self._tables = [
            torch.tensor(
                [
                    (condition[c], specimen[s], pair[s, c])
                    for s, c in ((part.memory, part.condition.id) for part in source.parts)
                ],
                device=self._device,
            )
            for source in sources
        ]

    def batch(
        self, specimens: Tensor, orientations: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth, float32, [B, M, n, n], of specimens and orientations, [M, B], for M networks."""
        chosen, turns = (t.to(self._device, non_blocking=True) for t in (specimens, orientations))
        rows = zip(self._sources, self._tables, chosen, generators, strict=True)
        places = [(table, *source.places(own, generator)) for source, table, own, generator in rows]
        which, at, cached_at = (
            torch.cat([table[:, column][part] + (place if column else 0) for table, part, place in places])
            for column in range(3)
        )
        turns = turns.flatten()
        if self._cached is not None:
            intensity = symmetry.turn_each(self._cached[cached_at], turns, self._sources[0].parts[0].binning)
        elif self._stored is not None:
            intensity = self._imager.intensity(self._stored[at], which, turns)
        counts = self._imager.record(intensity, which, generators, poisson=fast_poisson)
        masks = symmetry.turn_each(self._masks[cached_at if self._of_pairs else at], turns).expand_as(counts)
        images, truth = (t.view(*specimens.shape, *t.shape[1:]).transpose(0, 1) for t in (normalize(counts), masks))
        return images, truth.float()


def _firsts(parts: Mapping[Key, ImageSource]) -> dict[Key, int]:
    """Return where the specimens of each part begin if all are joined."""
    return dict(zip(parts, itertools.accumulate(map(len, parts.values()), initial=0), strict=False))


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
