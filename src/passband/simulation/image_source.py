"""Network input, made on the fly from exit waves; no image is written to disk to train."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from passband.simulation import symmetry
from passband.simulation.imaging import normalize
from passband.simulation.modality import Imager, camera_masks


class ImageSource:
    """Images of N specimens under one condition, with fresh shot noise at every call, made on the waves' device.

    A round condition images a turned specimen as the turned image, so with `cache` the expected intensities are computed
    once and stay in memory, at 4 bytes a pixel. Under any other condition they are formed at every call. `masks` are the
    truth on the camera's pixels, bool, [N, n, n].
    """

    def __init__(self, stored: Tensor, masks: Tensor, imager: Imager, *, cache: bool = True):
        """Prepare the source, after `Imager.check`, of what is stored, [N, ...], and masks, bool [N, m, m], on any grid of the field."""
        imager.check()
        self._stored, self._imager, self.condition, self.device = stored, imager, imager.condition, stored.device
        self.masks = camera_masks(masks, imager.pixels).to(self.device)
        self._cached = imager.intensity(stored) if cache and imager.condition.is_round else None

    @property
    def parts(self) -> "Sequence[ImageSource]":
        """This source alone."""
        return [self]

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Return zeros: there is one part."""
        return torch.zeros(count, dtype=torch.int64, device=generator.device)

    def __len__(self) -> int:
        return len(self._stored)

    def intensity(self, specimens: Tensor, orientations: Tensor) -> Tensor:
        """Return expected intensities, vacuum = 1, of specimens turned by orientations 0 to 7, both of shape [B]."""
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
        # Without waiting for what the device is at.
        specimens, turns = (indices.to(self.device, non_blocking=True) for indices in (specimens, turns))
        counts = self._imager.record(self.intensity(specimens, turns), generator=generator)
        masks = symmetry.turn_each(self.masks[specimens], turns)
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

    def drawn(self, count: int, generator: torch.Generator) -> Tensor:
        """Return which of the open parts each image comes from."""
        return torch.randint(self._open, (count,), generator=generator, device=generator.device)

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth as `ImageSource.batch` does."""
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        drawn = self.drawn(len(specimens), generator).to(specimens.device)
        return _from_parts(self.parts, drawn, specimens, turns, generator, self.device)


class AlternatingSource:
    """Images of N specimens that take turns: each is always under one of several conditions, the first under the first."""

    def __init__(self, parts: Sequence[ImageSource]):
        """Join sources of every M-th specimen on the same pixels, one a condition: part m has specimens m, m + M, and so on."""
        self.parts, self.device = parts, parts[0].device

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def begin(self, share: float) -> None:
        """Curriculum hook; does nothing."""

    def batch(
        self, specimens: Tensor, orientations: Tensor | None = None, *, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth as `ImageSource.batch` does."""
        turns = torch.zeros_like(specimens) if orientations is None else orientations
        which, place = specimens % len(self.parts), specimens // len(self.parts)
        return _from_parts(self.parts, which, place, turns, generator, self.device)


def _from_parts(
    parts: Sequence[ImageSource],
    which: Tensor,
    specimens: Tensor,
    orientations: Tensor,
    generator: torch.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Return network input and truth, [B, 1, n, n], of specimens [B] of parts [B], part by part and in their order."""
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
        """Join sources on the same grids; a ValueError if one pass cannot make images under all their conditions, or of all specimens."""
        if any(isinstance(source, AlternatingSource) for source in sources):
            raise ValueError("specimens that take turns are imaged by one source after another")
        parts = [part for source in sources for part in source.parts]
        self._sources = [source for source in sources if not isinstance(source, AlternatingSource)]
        self._device = parts[0].device
        # Networks that differ in their seed share a condition, and most share their specimens.
        conditions = {part.condition.id: part._imager for part in reversed(parts)}
        place = {condition: i for i, condition in enumerate(conditions)}
        imagers = list(conditions.values())
        self._imager = imagers[0].joint(imagers, self._device)
        self._places = [self._tensor([place[part.condition.id] for part in source.parts]) for source in sources]
        specimens = {id(source.parts[0]._stored): source.parts[0] for source in sources}
        first = dict(zip(specimens, itertools.accumulate(map(len, specimens.values()), initial=0), strict=False))
        self._first = self._tensor([first[id(source.parts[0]._stored)] for source in sources])[:, None]
        self._stored = _joined([part._stored for part in specimens.values()])
        self._masks = _joined([part.masks for part in specimens.values()])

    def batch(
        self, specimens: Tensor, orientations: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        """Return network input and truth, float32, [B, M, n, n], of specimens and orientations, [M, B], for M networks."""
        rows = zip(self._sources, self._places, generators, strict=True)
        which = torch.cat([places[source.drawn(specimens.shape[1], generator)] for source, places, generator in rows])
        chosen, turns = (t.to(self._device, non_blocking=True) for t in (specimens, orientations))
        chosen, turns = (chosen + self._first).flatten(), turns.flatten()
        counts = self._imager.counts(self._stored[chosen], which, turns, generators)
        masks = symmetry.turn_each(self._masks[chosen], turns)
        images, truth = (t.view(*specimens.shape, *t.shape[1:]).transpose(0, 1) for t in (normalize(counts), masks))
        return images, truth.float()

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device)


def _joined(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
