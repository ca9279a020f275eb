"""The task of telling particles apart that touch: at each pixel the distance to the outline of the particle that covers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from passband.learning.particle_scores import COUNTS, SUMS, Regions, compare, particle_scores, regions_of
from passband.learning.task import Headline

if TYPE_CHECKING:
    from passband.simulation.multislice import ExitWaveConfig
    from passband.specimens import Recipe, Specimen

# Outputs are in units of this [Å]; outside particles the distance is cut off here [Å].
_SCALE, _OUTSIDE = 10.0, 5.0
# Two parts of a region are two particles if the distance falls by this between them [Å].
_DEPTH = 1.0


class Instances:
    """The distance to the outline of the particle at each pixel [Å], negative outside; between particles that touch it falls to zero."""

    name = "instances"
    quantity = "distance to the particle's outline [Å]"
    value = ""
    outputs = 1
    classes: tuple[str, ...] = ()
    headline = Headline(
        "instance_f1",
        "Instance F1",
        "",
        True,
        "counts particles matched with an intersection of more than half the union, those missed and those invented",
        ("instance_f1", 0.5),
    )
    counts: Mapping[str, type] = dict.fromkeys(COUNTS, int) | dict.fromkeys(SUMS, float)

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the distance on the multislice grid [Å], float32 [n, n]; where particles overlap, that of the upper one."""
        from passband.specimens.labels import particle_instances

        n = config.grid_points(recipe.field_angstrom)
        numbers = particle_instances(specimen, n)
        pixel, around = recipe.field_angstrom / n, n // 4
        # The field repeats.
        wide = np.pad(numbers, around, mode="wrap")
        distance = -np.minimum(ndimage.distance_transform_edt(wide == 0) * pixel, _OUTSIDE)
        for number in range(1, int(numbers.max(initial=0)) + 1):
            own = wide == number
            distance[own] = ndimage.distance_transform_edt(own)[own] * pixel
        return distance[around:-around, around:-around].astype(np.float32)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of each image, in units of 10 Å, shape [B]."""
        return (outputs - targets / _SCALE).square().mean((1, 2, 3))

    def truth(self, targets: np.ndarray, pixel_size_angstrom: float) -> Regions:
        """Return the particles of targets [B, n, n] and their outlines."""
        return _regions(targets, pixel_size_angstrom)

    def score(self, outputs: Tensor, targets: Tensor, truth: Regions) -> dict[str, Sequence[float] | np.ndarray]:
        """Return the loss and what `particle_scores.compare` counts of each image."""
        counted = compare(_regions(self.shown(outputs), truth.pixel_size_angstrom), truth)
        columns: dict[str, Sequence[float] | np.ndarray] = {
            "loss": self.loss(outputs, targets).to(torch.float64).tolist()
        }
        return columns | {name: counted[name] for name in self.counts}

    def scores(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scores of `particle_scores`."""
        return particle_scores(sums)

    def shown(self, outputs: Tensor) -> np.ndarray:
        """Return the distance [Å], float32 [B, n, n]."""
        return (outputs[:, 0].float() * _SCALE).cpu().numpy()


def separated(distance: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the number of the particle at each pixel of a map of distances [h, w] [Å], from 1; 0 where it is negative.

    Each maximum that stands out by 1 Å is a particle, and watersheds part them.
    """
    # Imported here because they take a second.
    from skimage.morphology import h_maxima
    from skimage.segmentation import watershed

    inside = distance > 0
    if not inside.any():
        return np.zeros(distance.shape, np.int32)
    height = np.where(inside, distance, 0)
    peaks, _ = ndimage.label(h_maxima(height, _DEPTH), np.ones((3, 3)))
    found: NDArray[np.int32] = watershed(-height, peaks, mask=inside)
    return found


def _regions(distances: NDArray[np.float32], pixel_size_angstrom: float) -> Regions:
    return regions_of(np.stack([separated(one) for one in distances]), pixel_size_angstrom)
