"""The task of finding atomic columns: a peak at each, of particles that lie along a zone axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from torch import Tensor

from passband.learning.task import Headline

if TYPE_CHECKING:
    from passband.simulation.multislice import ExitWaveConfig
    from passband.specimens import Recipe, Specimen

#: A found column is right within half the least distance of two columns [Å].
MATCH_ANGSTROM = 0.6
# Standard deviation of a peak [Å], and the least height of one that counts.
_WIDTH, _HEIGHT = 0.5, 0.5
# How much more a pixel at a peak weighs than one between them, of which there are more.
_WEIGHT = 5.0


class Columns:
    """A map with a peak of height 1 at each atomic column; columns of grains off every zone axis are none."""

    name = "columns"
    quantity = "atomic columns"
    value = ""
    outputs = 1
    classes: tuple[str, ...] = ()
    headline = Headline(
        "column_f1",
        "F1 of atomic columns",
        "",
        True,
        "counts columns found within 0.6 Å of a true one, those missed and those invented",
        ("column_f1", 0.5),
    )
    counts: Mapping[str, type] = dict.fromkeys(("columns", "found_columns", "called_columns"), int) | {
        "column_distances": float
    }

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the map on the multislice grid, float32 [n, n]."""
        from passband.specimens.labels import atomic_columns

        n, field = config.grid_points(recipe.field_angstrom), recipe.field_angstrom
        found, places = atomic_columns(specimen), np.arange(n) * field / n
        result = np.zeros((n, n), np.float32)
        for x, y in zip(found["x"], found["y"], strict=True):
            factors = []
            for centre in (x, y):
                away = places - centre
                away -= field * np.round(away / field)
                factors.append(np.exp(-0.5 * (away / _WIDTH) ** 2))
            np.maximum(result, np.outer(*factors), out=result)
        return result

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted mean squared error of each image, shape [B]."""
        return ((outputs - targets).square() * (1 + _WEIGHT * targets)).mean((1, 2, 3))

    def truth(self, targets: np.ndarray, pixel_size_angstrom: float) -> tuple[float, list[np.ndarray]]:
        """Return the pixel size [Å] and the places of the columns of each image [Å], shape [K, 2]."""
        return pixel_size_angstrom, [column_places(target, pixel_size_angstrom) for target in targets]

    def score(
        self, outputs: Tensor, targets: Tensor, truth: tuple[float, list[np.ndarray]]
    ) -> dict[str, Sequence[float] | np.ndarray]:
        """Return the loss, and of each image the columns there are, those found, those called, and the found ones' distances summed [Å]."""
        pixel, true = truth
        rows = [
            _matched(column_places(image, pixel), places)
            for image, places in zip(self.shown(outputs), true, strict=True)
        ]
        columns: dict[str, Sequence[float] | np.ndarray] = {
            "loss": self.loss(outputs, targets).to(torch.float64).tolist()
        }
        return columns | dict(zip(self.counts, map(np.array, zip(*rows, strict=True)), strict=True))

    def scores(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Return F1, recall and precision of columns within 0.6 Å, and the mean distance of the found ones [Å]."""
        found = sums["found_columns"]
        return {
            "column_f1": 2 * found / (sums["columns"] + sums["called_columns"]),
            "column_recall": found / sums["columns"],
            "column_precision": found / sums["called_columns"],
            "column_distance_angstrom": sums["column_distances"] / found,
        }

    def shown(self, outputs: Tensor) -> np.ndarray:
        """Return the map, float32 [B, n, n]."""
        return outputs[:, 0].float().cpu().numpy()


def column_places(image: np.ndarray, pixel: float) -> np.ndarray:
    """Return the places of the peaks of a map [h, w], on the tip of a parabola through their neighbours: row and column, shape [K, 2] [Å]."""
    from skimage.feature import peak_local_max

    apart = max(round(MATCH_ANGSTROM / pixel), 1)
    peaks = peak_local_max(image, min_distance=apart, threshold_abs=_HEIGHT, exclude_border=False)
    refined = peaks.astype(float)
    for axis in (0, 1):
        before, after = (np.roll(image, shift, axis)[tuple(peaks.T)] for shift in (1, -1))
        bend = before + after - 2 * image[tuple(peaks.T)]
        refined[:, axis] += np.where(
            bend < 0, np.clip((before - after) / np.where(bend < 0, 2 * bend, 1), -0.5, 0.5), 0
        )
    return refined * pixel


def _matched(called: np.ndarray, true: np.ndarray) -> tuple[int, int, int, float]:
    """Return how many columns there are, how many are found, how many were called, and the sum of the found ones' distances [Å]."""
    if not len(called) or not len(true):
        return len(true), 0, len(called), 0.0
    distance = cdist(called, true)
    # Pairs beyond the limit cost as much as none.
    pairs = linear_sum_assignment(np.minimum(distance, 2 * MATCH_ANGSTROM))
    matched = distance[pairs][distance[pairs] <= MATCH_ANGSTROM]
    return len(true), len(matched), len(called), float(matched.sum())
