"""Split particles that touch or overlap in a mask, where the neck between them is narrow."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from passband.learning.particle_scores import LEAST_AREA_ANGSTROM2

#: Split where the neck is narrower than this share of the smaller part ...
NECK = 0.9
#: ... and half the neck's width less than half the part's by this [Å]; `benchmarks/touching.py` chooses both.
LEAST_DEPTH_ANGSTROM = 0.8
# Pixels on which necks are measured, unless the image's are coarser: those of the networks [Å].
_PIXEL = 0.8
_Numbers = NDArray[np.int32]


def split_touching(
    numbers: _Numbers,
    pixel_size_angstrom: float,
    neck: float = NECK,
    least_depth_angstrom: float = LEAST_DEPTH_ANGSTROM,
) -> _Numbers:
    """Return numbered regions [h, w], each of connected pixels, split where they are narrow; parts are numbered from 1, region by region.

    The distance from the outline has a maximum in each part, and watersheds separate all its maxima. Two parts stay one unless the distance
    where they meet, half the neck's width, is below `neck` times the lower maximum, and lower by `least_depth_angstrom`. A part has 28 Å²
    or more. Widths are measured on pixels of 0.8 Å at least.
    """
    # Imported here because it takes a second.
    from skimage.segmentation import watershed

    step = max(int(_PIXEL / pixel_size_angstrom + 1e-6), 1)
    pixel = step * pixel_size_angstrom
    coarse = numbers[step // 2 :: step, step // 2 :: step].copy()
    # On coarse pixels regions may meet that do not touch.
    coarse[meeting(coarse)] = 0
    distance = ndimage.distance_transform_edt(coarse > 0).astype(np.float32) * np.float32(pixel)
    basins = watershed(-distance, mask=coarse > 0)
    count = int(basins.max(initial=0))
    peaks = np.zeros(count + 1, np.float32)
    np.maximum.at(peaks, basins.ravel(), distance.ravel())
    areas = np.bincount(basins.ravel(), minlength=count + 1) * pixel**2
    root = list(range(count + 1))

    def root_of(i: int) -> int:
        while root[i] != i:
            root[i] = i = root[root[i]]
        return i

    for saddle, one, other in _saddles(basins, distance):
        low, high = sorted((root_of(one), root_of(other)), key=lambda i: (peaks[i], i))
        wide = peaks[low] - saddle < max((1 - neck) * peaks[low], least_depth_angstrom)
        if low != high and (wide or min(areas[low], areas[high]) < LEAST_AREA_ANGSTROM2):
            root[low] = high
            areas[high] += areas[low]
    parts = np.array([root_of(i) for i in range(count + 1)], dtype=np.int32)[basins]
    return _refined(parts, coarse, numbers, step)


def meeting(numbers: _Numbers) -> NDArray[np.bool_]:
    """Return where a pixel of a particle has one of another particle above it or to its left."""
    result = np.zeros(numbers.shape, dtype=bool)
    for one, _, meet in _neighbours(numbers):
        result[one] |= meet
    return result


def _neighbours(numbers: _Numbers) -> Iterator[tuple[Any, Any, NDArray[np.bool_]]]:
    """Yield slices of pixels and of those above, then of those to the left, each with where both are of different particles."""
    for one, other in (np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1]):
        a, b = numbers[one], numbers[other]
        yield one, other, (a != b) & (a > 0) & (b > 0)


def _saddles(basins: _Numbers, distance: NDArray[np.float32]) -> list[tuple[float, int, int]]:
    """Return the largest distance at which each two neighbouring basins meet, with these, largest first."""
    count = int(basins.max(initial=0)) + 1
    keys, values = [], []
    for one, other, meet in _neighbours(basins):
        a, b = basins[one][meet], basins[other][meet]
        low, high = np.minimum(a, b), np.maximum(a, b)
        keys.append(low.astype(np.int64) * count + high)
        values.append(np.minimum(distance[one][meet], distance[other][meet]))
    key, value = np.concatenate(keys), np.concatenate(values)
    order = np.argsort(-value, kind="stable")
    # The first of each pair is its largest.
    _, first = np.unique(key[order], return_index=True)
    chosen = order[np.sort(first)]
    return [(float(v), int(k // count), int(k % count)) for v, k in zip(value[chosen], key[chosen], strict=True)]


def _refined(parts: _Numbers, coarse: _Numbers, numbers: _Numbers, step: int) -> _Numbers:
    """Return the regions with those of several parts divided into them; what coarse pixels miss of a region goes to the part beside it."""
    owner = np.zeros(int(parts.max(initial=0)) + 1, np.int32)
    owner[parts] = coarse
    count = np.bincount(owner[owner > 0], minlength=int(numbers.max(initial=0)) + 1)
    # A region that no coarse pixel shows is one part, too.
    first = np.concatenate([[0], 1 + np.cumsum(np.maximum(count[1:], 1)) - np.maximum(count[1:], 1)]).astype(np.int32)
    result = np.take(first, numbers)
    for region, place in enumerate(ndimage.find_objects(numbers), 1):
        if count[region] < 2:
            continue
        inside = np.pad(numbers[place] == region, 1)
        rows, columns = (np.minimum(np.arange(n)[s] // step, m - 1)
                         for n, s, m in zip(numbers.shape, place, parts.shape, strict=True))  # fmt: skip
        drawn = np.pad(parts[rows[:, None], columns], 1)
        flat = np.where(inside & (owner[drawn] == region), drawn, 0).ravel()
        missing, width = np.flatnonzero((flat == 0) & inside.ravel()), inside.shape[1]
        # Nothing but the region's own parts is numbered, and the region is connected.
        while len(missing):
            flat[missing] = flat[missing + np.array([[1], [-1], [width], [-width]])].max(0)
            missing = missing[flat[missing] == 0]
        found, pixel, which = np.unique(flat[inside.ravel()], return_index=True, return_inverse=True)
        order = np.empty(len(found), np.int32)
        order[np.argsort(pixel)] = np.arange(len(found))
        result[place][inside[1:-1, 1:-1]] = first[region] + order[which]
    return result
