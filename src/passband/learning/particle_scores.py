"""How predicted particles agree with true ones: raw sums of each image, which add up over images, and the scores that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from passband.learning.outlines import Indices, Mask, Outlines, outlines

#: Smaller regions are no particles but noise [Å²]: a disc of 6 Å.
LEAST_AREA_ANGSTROM2 = 28.0
#: Distance within which two outlines agree [Å].
TOLERANCE_ANGSTROM = 2.0
#: Raw counts of an image: particles; matched and unmatched predictions; matched particles that the edge of the image does not cut.
COUNTS = ("particles", "found", "invented", "whole")
#: Raw sums [Å]: length of both outlines, of what lies within the tolerance, and of what is compared, which belongs to regions that overlap
#: the other mask; distance × length of the latter [Å²], with sign and without; differences of the diameters of whole particles.
SUMS = ("outline", "near", "compared", "distance_length", "absolute_distance_length", "diameter_difference")
# Regions touch by the sides of pixels, and never from one image to the next.
_TOUCHING = np.zeros((3, 3, 3), dtype=bool)
_TOUCHING[1] = ndimage.generate_binary_structure(2, 1)


@dataclass(frozen=True, eq=False)
class Regions:
    """The regions of B masks, that is, connected pixels, and their outlines: what comparing needs of truth and prediction.

    Attributes:
        masks: bool, shape [B, h, w].
        numbers: of the region at each pixel, from 1 through all images, shape [B, h, w].
        particle: index of the particle that each region is, −1 if it is too small, shape [regions + 1].
        areas: of the particles [pixels], shape [particles].
        cut: which particles the edge of the image cuts, shape [particles].
        borders: of the images among the particles, shape [B + 1].
        outline: of the masks.
        of_outline: number of the region of each piece of the outline.
        pixel_size_angstrom: of the masks [Å].
    """

    masks: Mask
    numbers: NDArray[np.int32]
    particle: Indices
    areas: Indices
    cut: Mask
    borders: Indices
    outline: Outlines
    of_outline: NDArray[np.int32]
    pixel_size_angstrom: float


def regions_of(masks: NDArray[Any], pixel_size_angstrom: float) -> Regions:
    """Return the regions of masks [B, h, w]; connected pixels are one, and so are those of one number if the masks hold integers."""
    inside, numbers = masks > 0, _numbered(masks)
    areas, large = _sizes(numbers, pixel_size_angstrom)
    cut = np.zeros(len(areas), dtype=bool)
    for side in (numbers[:, 0], numbers[:, -1], numbers[:, :, 0], numbers[:, :, -1]):
        cut[side] = True
    # Numbers rise from image to image.
    last = np.maximum.accumulate(numbers.max((1, 2), initial=0))
    borders = np.concatenate([[0], np.cumsum(large)[last]])
    particle = np.where(large, np.cumsum(large) - 1, -1)
    outline = outlines(inside)
    of_outline = _beside(numbers, outline)
    return Regions(
        inside, numbers, particle, areas[large], cut[large], borders, outline, of_outline, pixel_size_angstrom
    )


def number_particles(mask: NDArray[Any], pixel_size_angstrom: float) -> NDArray[np.int32]:
    """Return the number of the particle at each pixel of a mask [h, w] from 1, without regions under 28 Å².

    Connected pixels of a mask are one particle, and so are those of one number if the mask holds integers that number particles.
    """
    [numbers] = _numbered(mask[None])
    _, large = _sizes(numbers, pixel_size_angstrom)
    return (np.cumsum(large) * large).astype(np.int32)[numbers]


def compare(called: Regions, truth: Regions, tolerance_angstrom: float = TOLERANCE_ANGSTROM) -> dict[str, NDArray[Any]]:
    """Return `COUNTS` and `SUMS` of each image by name, shape [B] each, of predicted regions and the true ones."""
    pixel, count = truth.pixel_size_angstrom, len(truth.masks)
    c, t = _common(called, truth)
    sums: dict[str, NDArray[Any]] = {name: np.zeros(count) for name in SUMS}
    for one, other, common, sign in ((called, truth, c, -pixel), (truth, called, t, pixel)):
        outline, lengths = one.outline, pixel * one.outline.lengths
        image = np.repeat(np.arange(count), np.diff(outline.borders))
        away = sign * other.outline.depth(outline.middles, outline.borders)
        overlaps = np.zeros(len(one.particle), dtype=bool)
        overlaps[common] = True
        # A mask of the whole image has no outline.
        compared = np.where(overlaps[one.of_outline] & np.isfinite(away), lengths, 0.0)
        apart = compared * np.where(compared > 0, away, 0.0)
        added = (lengths, lengths * (np.abs(away) <= tolerance_angstrom), compared, apart, np.abs(apart))
        for name, values in zip(SUMS, added, strict=False):
            sums[name] += np.bincount(image, values, count)
    of_truth, of_called = _matched(called, truth, c, t)
    whole = ~(truth.cut[of_truth] | called.cut[of_called])
    across = [np.sqrt(r.areas[i] * 4 / np.pi) for r, i in ((called, of_called), (truth, of_truth))]
    image = np.repeat(np.arange(count), np.diff(truth.borders))[of_truth]
    sums["diameter_difference"] = pixel * np.bincount(image, whole * (across[0] - across[1]), count)
    particles, predicted = np.diff(truth.borders), np.diff(called.borders)
    found = np.bincount(image, minlength=count)
    counts = (particles, found, predicted - found, np.bincount(image[whole], minlength=count))
    return dict(zip(COUNTS, counts, strict=True)) | sums


def matched_particles(called: Regions, truth: Regions) -> tuple[Indices, Indices]:
    """Return the particles of truth and prediction whose intersection is more than half their union, by their indices; one has one match at most."""
    return _matched(called, truth, *_common(called, truth))


def _common(called: Regions, truth: Regions) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the numbers of the predicted and the true region at each pixel that both cover."""
    both = np.flatnonzero(called.masks & truth.masks)
    return called.numbers.ravel()[both], truth.numbers.ravel()[both]


def _matched(called: Regions, truth: Regions, c: NDArray[np.int32], t: NDArray[np.int32]) -> tuple[Indices, Indices]:
    true, predicted = truth.particle[t], called.particle[c]
    particles = (true >= 0) & (predicted >= 0)
    true, predicted = true[particles], predicted[particles]
    # Columns are predictions of one image.
    first = np.repeat(called.borders[:-1], np.diff(truth.borders))
    columns = max(int(np.diff(called.borders).max(initial=0)), 1)
    table = np.bincount(true * columns + predicted - first[true], minlength=len(truth.areas) * columns)
    shared = np.flatnonzero(table)
    rows = shared // columns
    called_by = shared % columns + first[rows]
    matched = 2 * table[shared] > truth.areas[rows] + called.areas[called_by] - table[shared]
    return rows[matched], called_by[matched]


def particle_scores(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores of one image, or of several by their added `COUNTS` and `SUMS`, numbers of NumPy or polars; NaN where undefined.

    particles of the truth, of at least 28 Å²; found, those matched by a predicted one with an intersection of more than half the union;
    missed; invented, predicted ones without a match; instance_f1 = 2 found / (2 found + missed + invented); surface_dice, share of both
    outlines within the tolerance of the other; distance_angstrom, mean distance of the outlines, positive where the predicted one lies
    outside, over regions that overlap the other mask; absolute_distance_angstrom, that without sign; diameter_bias_angstrom, mean
    difference of the equivalent diameters of matched particles, predicted less true, without those that the edge of the image cuts.
    """
    particles, found, invented = (sums[name] for name in ("particles", "found", "invented"))
    missed = particles - found
    return {
        "particles": particles,
        "found": found,
        "missed": missed,
        "invented": invented,
        "instance_f1": 2 * found / (2 * found + missed + invented),
        "surface_dice": sums["near"] / sums["outline"],
        "distance_angstrom": sums["distance_length"] / sums["compared"],
        "absolute_distance_angstrom": sums["absolute_distance_length"] / sums["compared"],
        "diameter_bias_angstrom": sums["diameter_difference"] / sums["whole"],
    }


def _numbered(masks: NDArray[Any]) -> NDArray[np.int32]:
    if masks.dtype == bool:
        return ndimage.label(masks, _TOUCHING)[0]
    # Imported here because it takes a second.
    from skimage.measure import label

    each = [np.asarray(label(mask, connectivity=1)) for mask in masks]
    before = np.cumsum([0, *(int(one.max(initial=0)) for one in each)])
    return np.stack([np.where(one > 0, one + n, 0) for one, n in zip(each, before, strict=False)]).astype(np.int32)


def _sizes(numbers: NDArray[np.int32], pixel_size_angstrom: float) -> tuple[Indices, Mask]:
    """Return the area of each region [pixels] and whether it is a particle, by its number."""
    areas = np.bincount(numbers[numbers > 0], minlength=1)
    large = areas * pixel_size_angstrom**2 >= LEAST_AREA_ANGSTROM2
    large[0] = False
    return areas, large


def _beside(numbers: NDArray[np.int32], outline: Outlines) -> NDArray[np.int32]:
    """Return the number of a region at or beside each piece of an outline, which lies within a pixel and a half of it."""
    count, height, width = numbers.shape
    image = np.repeat(np.arange(count), np.diff(outline.borders))
    rows, columns = np.minimum(outline.middles.astype(np.intp), [height - 2, width - 2]).T
    flat, at = numbers.ravel(), (image * height + rows) * width + columns
    result = flat[at[:, None] + [0, 1, width, width + 1]].max(1)
    bare = np.flatnonzero(result == 0)
    if len(bare):
        down, across = np.divmod(np.arange(16), 4)
        rows = np.clip(rows[bare, None] + down - 1, 0, height - 1)
        columns = np.clip(columns[bare, None] + across - 1, 0, width - 1)
        result[bare] = flat[(image[bare, None] * height + rows) * width + columns].max(1)
    return result
