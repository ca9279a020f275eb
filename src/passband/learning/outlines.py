"""Outlines of masks, and how far points lie from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Mask = NDArray[np.bool_]
Numbers = NDArray[np.floating[Any]]
Indices = NDArray[np.intp]

# Corners of a cell of four pixels, clockwise from the upper left, and the steps along its edges, each from the corner of its number.
_CORNERS = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
_STEPS = np.roll(_CORNERS, -1, axis=0) - _CORNERS
# By which edge an outline enters a cell and by which it leaves, mask on a fixed side, for the sum of 2^corner over corners inside.
# Opposite corners (5 and 10) are apart; their second pieces are 16 and 17.
_ENTERS = np.array([0, 3, 0, 3, 1, 3, 0, 3, 2, 2, 0, 2, 1, 1, 0, 0, 1, 2])
_LEAVES = np.array([0, 0, 1, 1, 2, 0, 2, 2, 3, 0, 1, 1, 3, 0, 3, 0, 2, 3])
_SECOND = {5: 16, 10: 17}
# The value at which a blurred mask, 0 to 256, has its outline.
_HALF = 128
# Pairs of points up to which all distances are faster than a tree.
_FEW_PAIRS = 1_000_000


@dataclass(frozen=True, eq=False)
class Outlines:
    """The outlines of B masks in straight pieces of a pixel's size, in pixels as rows and columns; the edge of an image is none.

    Attributes:
        middles: of the pieces, image by image, shape [N, 2].
        pieces: from start to end of each, with the mask on a fixed side, shape [N, 2].
        lengths: of the pieces, shape [N].
        borders: of the images among the pieces, shape [B + 1].
    """

    middles: Numbers
    pieces: Numbers
    lengths: Numbers
    borders: Indices

    def depth(self, points: Numbers, borders: Indices) -> Numbers:
        """Return how deep points [M, 2] lie inside the outline of their image [pixels], negative outside; infinite where there is none.

        The distance is that from the piece whose middle is nearest. `borders` are those of the images among the points, shape [B + 1].
        """
        nearest = _nearest(points, borders, self.middles, self.borders)
        if not len(self.middles):
            return np.full(len(points), np.inf)
        away = points - self.middles[nearest]
        along, length = self.pieces[nearest], np.maximum(self.lengths[nearest], 1e-9)
        across = (along[:, 0] * away[:, 1] - along[:, 1] * away[:, 0]) / length
        beyond = np.abs(along[:, 0] * away[:, 0] + along[:, 1] * away[:, 1]) / length - length / 2
        depth: Numbers = np.copysign(np.hypot(across, np.maximum(beyond, 0)), across)
        depth[nearest < 0] = np.inf
        return depth


def outlines(masks: Mask) -> Outlines:
    """Return the outlines of masks, bool [B, h, w]: those of the blurred masks, at one half, by marching squares.

    The masks are blurred by one pixel: the staircase of pixels would be nearer by a third of a pixel than the outline that it follows.
    """
    count, height, width = masks.shape
    values = _blurred(masks)
    inside = (values > _HALF).view(np.uint8)
    left, right = inside[:, :, :-1], inside[:, :, 1:]
    cells = left[:, :-1] + 2 * right[:, :-1] + 4 * right[:, 1:] + 8 * left[:, 1:]
    crossed = np.flatnonzero((cells > 0) & (cells < 15))
    codes = cells.ravel()[crossed]
    for code, second in _SECOND.items():
        more = crossed[codes == code]
        if len(more):
            order = np.argsort(np.concatenate([crossed, more]), kind="stable")
            codes = np.concatenate([codes, np.full(len(more), second)])[order]
            crossed = np.concatenate([crossed, more])[order]
    image, rows, columns = np.unravel_index(crossed, cells.shape)
    first = (image * height + rows) * width + columns
    corners = values.ravel()[first[:, None] + _CORNERS @ [width, 1]].astype(np.float64)
    origin, each = np.stack([rows, columns], 1), np.arange(len(first))

    def crossing(edge: Indices) -> Numbers:
        here, there = corners[each, edge], corners[each, (edge + 1) % 4]
        return origin + _CORNERS[edge] + ((_HALF - here) / (there - here))[:, None] * _STEPS[edge]

    starts, ends = crossing(_ENTERS[codes]), crossing(_LEAVES[codes])
    pieces = ends - starts
    lengths = np.hypot(pieces[:, 0], pieces[:, 1])
    return Outlines((starts + ends) / 2, pieces, lengths, np.searchsorted(image, np.arange(count + 1)))


def _blurred(masks: Mask) -> NDArray[np.uint16]:
    """Return masks [B, h, w] blurred with a standard deviation of one pixel, 0 to 256, by (1, 4, 6, 4, 1) / 16 along both axes."""
    values = np.pad(masks.view(np.uint8), ((0, 0), (2, 2), (2, 2)), mode="edge").astype(np.uint16)
    for _ in range(4):
        values = values[:, 1:] + values[:, :-1]
    for _ in range(4):
        values = values[:, :, 1:] + values[:, :, :-1]
    return values


def _nearest(points: Numbers, borders: Indices, others: Numbers, other_borders: Indices) -> Indices:
    """Return the index of the nearest of others [K, 2] of the same image to each of points [M, 2], −1 where there is none."""
    # |a − b|² without |a|², about a middle so that single precision is enough.
    counts, sums = np.diff(other_borders), np.pad(others.cumsum(0), ((1, 0), (0, 0)))
    middles = np.diff(sums[other_borders], axis=0) / np.maximum(counts, 1)[:, None]
    left, right = np.ones((len(points), 3), np.float32), np.empty((len(others), 3), np.float32)
    left[:, :2] = points - np.repeat(middles, np.diff(borders), axis=0)
    right[:, :2] = others - np.repeat(middles, counts, axis=0)
    right[:, 2] = right[:, 0] ** 2 + right[:, 1] ** 2
    right[:, :2] *= -2
    nearest = np.full(len(points), -1)
    for image in range(len(borders) - 1):
        here, there = slice(*borders[image : image + 2]), slice(*other_borders[image : image + 2])
        if there.start == there.stop:
            continue
        if (here.stop - here.start) * (there.stop - there.start) > _FEW_PAIRS:
            nearest[here] = there.start + cKDTree(others[there]).query(points[here])[1]
        else:
            nearest[here] = there.start + (left[here] @ right[there].T).argmin(1)
    return nearest
