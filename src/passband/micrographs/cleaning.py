"""Detect, count and replace faults of cameras: X-ray spikes, dead pixels, dead rows and columns.

A fault is sharper than any optics: it exceeds noise and lattice, and hardly affects its neighbours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

# An opening with 3 x 3 pixels removes features narrower than three pixels; the difference is their height. In Poisson noise and in
# lattices 0.1 % of the pixels exceed this quantile of it, and fewer than one in 100,000 twice as much.
_QUANTILE = 0.999
_TIMES = 2.0
# A peak of the optics, at least two pixels wide at half its height, has at least five pixels above this share of it.
_SHARE = 0.4
_MOST_PIXELS = 4
# Share of its height above which a neighbour belongs to a fault.
_SPILT = 0.2
_REACH = 3
# A fault is isolated: in the 21 x 21 pixels around it the third highest is less than half as high.
_AROUND = 10
_FEW = 3
# A larger share of the pixels than this is the image itself, not faults.
_MOST_FAULTS = 1e-3
_MARGIN = 4
_ROWS_AT_ONCE = 512
_SLAB = 32
_SAMPLED_PIXELS = 4_000_000
# A dead line exceeds its neighbours by this many times the 95th percentile of all lines.
_TIMES_LINE = 6.0
_NEAR = 15
_SAMPLED_OF_LINE = 1024
_NEAREST_LINES = (-3, -2, 2, 3)


@dataclass(frozen=True, eq=False)
class Cleaned:
    """An image after replacing its faults."""

    intensity: NDArray[np.float32]  #: (h, w); the given array, if there were no faults
    spikes: int = 0  #: number of bright pixels, or groups of up to four
    dead: int = 0  #: number of dark ones
    lines: int = 0  #: number of dead rows and columns

    @property
    def sentence(self) -> str:
        """A note on what was replaced."""
        counts = {"spike": self.spikes, "dead pixel": self.dead, "dead row or column": self.lines}
        plural = {"dead row or column": "dead rows or columns"}
        named = [f"{n} {what if n == 1 else plural.get(what, what + 's')}" for what, n in counts.items() if n]
        return f"{' and '.join(named)} replaced by the local median" if named else "no spikes or dead pixels found"


@np.errstate(over="ignore", invalid="ignore")
def clean(intensity: NDArray[np.float32]) -> Cleaned:
    """Replace the faults of an image, (h, w) float32 and finite, by the median of the intact pixels around them."""
    rows, columns = _dead_lines(intensity), _dead_lines(intensity.T)
    lines = np.zeros(intensity.shape, dtype=bool)
    lines[rows] = lines[:, columns] = True
    result = _replaced(intensity, lines) if lines.any() else intensity
    bright, spikes = _faults(result, 1.0)
    dark, dead = _faults(result, -1.0)
    if spikes or dead:
        result = _replaced(result, bright | dark)
    return Cleaned(result, spikes, dead, len(rows) + len(columns))


def _faults(image: NDArray[np.float32], sign: float) -> tuple[NDArray[np.bool_], int]:
    """Return where single bright (sign 1) or dark (sign -1) faults are, and their number."""
    mask = np.zeros(image.shape, dtype=bool)
    places = _candidates(image, sign)
    if not 0 < len(places) <= _MOST_FAULTS * image.size:
        return mask, 0
    size = 2 * _REACH + 1
    padded = np.pad(image, _REACH, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size))
    patches = sign * windows[tuple(places.T)].astype(np.float64)
    ring = np.ones((size, size), dtype=bool)
    ring[1:-1, 1:-1] = False
    excess = patches - np.median(patches[:, ring], axis=1)[:, None, None]
    height = excess[:, _REACH, _REACH]
    # Only the highest of adjacent pixels represents the fault.
    peak = height >= excess[:, _REACH - 1 : _REACH + 2, _REACH - 1 : _REACH + 2].max(axis=(1, 2))
    high = excess > _SHARE * height[:, None, None]
    core = np.zeros_like(high)
    core[:, _REACH, _REACH] = True
    for _ in range(_MOST_PIXELS):
        core = _grown(core) & high
    sharp = peak & (core.sum(axis=(1, 2)) <= _MOST_PIXELS) & ~core[:, ring].any(axis=1)
    sharp[sharp] = _alone(image, places[sharp], sign)
    spilt = core | (_grown(core) & (excess > _SPILT * height[:, None, None]))
    kind, down, right = np.nonzero(spilt[sharp])
    where = places[sharp][kind] + np.stack([down, right], axis=1) - _REACH
    inside = ((where >= 0) & (where < image.shape)).all(axis=1)
    mask[tuple(where[inside].T)] = True
    return mask, int(ndimage.label(mask, structure=np.ones((3, 3)))[1])


def _alone(image: NDArray[np.float32], places: NDArray[np.intp], sign: float) -> NDArray[np.bool_]:
    """Return which places are twice as high as all but a few around them; the columns of a small crystal are not."""
    size = 2 * _AROUND + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, _AROUND, mode="reflect"), (size, size))
    alone = np.zeros(len(places), dtype=bool)
    for i, place in enumerate(places):
        height = _narrow(windows[tuple(place)], sign)
        centre = height[_AROUND, _AROUND]
        height[_AROUND - _REACH : _AROUND + _REACH + 1, _AROUND - _REACH : _AROUND + _REACH + 1] = 0
        alone[i] = centre > _TIMES * np.partition(height, -_FEW, axis=None)[-_FEW]
    return alone


def _grown(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return ndimage.binary_dilation(mask, structure=np.ones((1, 3, 3), dtype=bool))


def _candidates(image: NDArray[np.float32], sign: float) -> NDArray[np.intp]:
    """Return rows and columns, (n, 2), of narrow, high pixels."""
    rows, columns = image.shape
    slabs = max(1, min(rows // _SLAB, _SAMPLED_PIXELS // (_SLAB * columns)))
    tops = np.linspace(0, max(0, rows - _SLAB), slabs).astype(int)
    scale = float(np.quantile(np.concatenate([_band(image, top, _SLAB, sign).ravel() for top in tops]), _QUANTILE))
    if scale <= 0:
        return np.zeros((0, 2), dtype=np.intp)
    bands = {top: _band(image, top, _ROWS_AT_ONCE, sign) > _TIMES * scale for top in range(0, rows, _ROWS_AT_ONCE)}
    return np.concatenate([np.argwhere(high) + np.array((top, 0)) for top, high in bands.items()])


def _band(image: NDArray[np.float32], top: int, rows: int, sign: float) -> NDArray[np.float32]:
    first = max(0, top - _MARGIN)
    height = _narrow(image[first : top + rows + _MARGIN], sign)
    return height[top - first : top - first + rows]


def _narrow(image: NDArray[np.float32], sign: float) -> NDArray[np.float32]:
    """Return the height of features narrower than 3 pixels: the difference to an opening (bright) or closing (dark)."""
    if sign > 0:
        return image - _of_nine(_of_nine(image, np.minimum), np.maximum)
    return _of_nine(_of_nine(image, np.maximum), np.minimum) - image


def _of_nine(image: NDArray[np.float32], pick: np.ufunc) -> NDArray[np.float32]:
    """Return the minimum (or maximum) of each 3 x 3 pixels, several times faster than SciPy's filter."""
    padded = np.pad(image, 1, mode="edge")
    columns = pick(pick(padded[:-2], padded[1:-1]), padded[2:])
    return pick(pick(columns[:, :-2], columns[:, 1:-1]), columns[:, 2:])


def _dead_lines(image: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return rows that are constant, or entirely above or below all rows nearby; at most two adjacent ones."""
    level = np.median(image[:, :: max(1, image.shape[1] // _SAMPLED_OF_LINE)], axis=1).astype(np.float64)
    near = np.stack([np.roll(level, -step) for step in _NEAREST_LINES])
    beyond = np.maximum(level - near.max(axis=0), near.min(axis=0) - level)
    usual = float(np.quantile(np.maximum(beyond, 0), 0.95))
    blank = image.max(axis=1) == image.min(axis=1)
    far = (beyond > _TIMES_LINE * usual) & (usual > 0)
    dead = np.zeros(len(image), dtype=bool)
    for row in np.flatnonzero(far | blank):
        others = image[[row + step for step in _NEAREST_LINES if 0 <= row + step < len(image)]]
        if far[row]:
            above = (image[row] > np.median(others, axis=0)).mean()
            # Fringes along the rows are many.
            alike = (beyond[max(0, row - _NEAR) : row + _NEAR + 1] > beyond[row] / 2).sum()
            dead[row] = max(above, 1 - above) > 0.9 and alike <= _FEW
        # At low dose a row can be empty by chance.
        dead[row] |= blank[row] and (others == image[row, 0]).mean() < _SHARE
    labels, number = ndimage.label(dead)
    runs = np.bincount(labels, minlength=number + 1)
    # A wider run is the margin of an alignment or a shutter, not a dead line.
    return np.flatnonzero(dead & (runs[labels] <= 2))


def _replaced(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Replace masked pixels by the median of the intact ones in the 7 x 7 pixels around.

    There are always intact ones: faults have at most 16 pixels, and two crossing lines leave 25.
    """
    result = image.copy()
    offsets = np.arange(-_REACH, _REACH + 1)
    masked = np.argwhere(mask)
    # In pieces, to limit the memory.
    for places in np.array_split(masked, len(masked) // 100_000 + 1):
        down = np.clip(places[:, 0, None, None] + offsets[:, None], 0, image.shape[0] - 1)
        right = np.clip(places[:, 1, None, None] + offsets, 0, image.shape[1] - 1)
        patches = np.where(mask[down, right], np.nan, image[down, right]).reshape(len(places), -1)
        result[tuple(places.T)] = np.nanmedian(patches, axis=1)
    return result
