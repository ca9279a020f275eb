"""Corrections of numbered particles by strokes: brush, erase, split, merge, remove, with undo and redo."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from passband.base.errors import BadInputError
from passband.learning.particle_scores import LEAST_AREA_ANGSTROM2

# Bytes that undone and redone strokes may take; the oldest are forgotten first.
_HISTORY_BYTES = 256_000_000
# Most points of a stroke.
_POINTS = 20_000
_SMALL = f"this is smaller than {LEAST_AREA_ANGSTROM2:g} Å², the smallest particle that is counted; draw a larger one"
_Numbers = NDArray[np.int32]
_Window = tuple[slice, slice]


@dataclass(frozen=True)
class _Change:
    """Where numbers have changed in a window, and what they were and became."""

    window: _Window
    changed: NDArray[np.int64]
    before: _Numbers
    after: _Numbers

    @property
    def bytes(self) -> int:
        return self.changed.nbytes + self.before.nbytes + self.after.nbytes


class MaskEdits:
    """Particles that strokes correct. A particle is connected and has 28 Å² or more: what a stroke cuts off becomes one of its own.

    Attributes:
        numbers: of the particle at each pixel, 0 is none, int32 [h, w]; numbers stay those of the particles, and may have gaps.
        count: number of strokes that changed something and have not been undone.
    """

    def __init__(self, numbers: _Numbers, pixel_size_angstrom: float):
        """Begin with numbered particles [h, w], which are copied."""
        self.numbers, self.count = numbers.copy(), 0
        self._least = LEAST_AREA_ANGSTROM2 / pixel_size_angstrom**2
        # A window that holds each particle; it may be too large.
        self._boxes: dict[int, _Window] = {
            n: box for n, box in enumerate(ndimage.find_objects(numbers), 1) if box is not None
        }
        self._next = int(numbers.max(initial=0)) + 1
        self._done: list[_Change] = []
        self._undone: list[_Change] = []

    @property
    def can_undo(self) -> bool:
        """Whether there is a stroke to undo."""
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        """Whether there is a stroke to do again."""
        return bool(self._undone)

    def stroke(self, tool: str, points: ArrayLike, radius: float) -> _Window:
        """Apply a stroke through points [N, 2] of x and y, in pixels from the upper left corner, of a radius [pixels].

        Brush enlarges the particle on which it begins, also into others, and begun on the background draws a new one beside others; erase
        takes away; split cuts particles along the line; merge makes those that the line touches one; remove deletes those.

        Returns:
            The window in which numbers have changed.

        Raises:
            BadInputError: if the stroke changes nothing.
        """
        tools: dict[str, Callable[..., Iterable[int]]] = {
            "brush": self._brush,
            "erase": self._erase,
            "split": self._split,
            "merge": self._merge,
            "remove": self._remove,
        }
        path = np.asarray(points, dtype=float).reshape(-1, 2)[:_POINTS]
        if (
            tool not in tools
            or not len(path)
            or not np.isfinite(path).all()
            or not 0 < radius < max(self.numbers.shape)
        ):
            raise BadInputError("this stroke cannot be read; draw it again")
        wide, thin = self._swept(path, max(radius, 0.5)), self._swept(path, 0.0)
        touched = self._at(wide) | self._at(thin)
        window = _union([wide[0], thin[0], *(self._boxes[n] for n in touched)])
        before = self.numbers[window].copy()
        try:
            self._connect(tools[tool](path, wide, thin))
        except BadInputError:
            self.numbers[window] = before
            raise
        after = self.numbers[window]
        changed = np.flatnonzero(before.ravel() != after.ravel())
        if not len(changed):
            raise BadInputError("this stroke changes nothing")
        change = _Change(window, changed, before.ravel()[changed], after.ravel()[changed])
        self._done.append(change)
        self._undone, self.count = [], self.count + 1
        while len(self._done) > 1 and sum(c.bytes for c in self._done) > _HISTORY_BYTES:
            self._done.pop(0)
        return self._extent(change)

    def undo(self) -> _Window | None:
        """Undo the last stroke; return the window that changes, or None if there is no stroke."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        self.count -= 1
        return self._put(self._undone[-1], self._undone[-1].before)

    def redo(self) -> _Window | None:
        """Do a stroke that was undone again; return the window that changes, or None if there is none."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        self.count += 1
        return self._put(self._done[-1], self._done[-1].after)

    def _put(self, change: _Change, values: _Numbers) -> _Window:
        view = self.numbers[change.window]
        view[np.unravel_index(change.changed, view.shape)] = values
        return self._extent(change)

    @staticmethod
    def _extent(change: _Change) -> _Window:
        rows, columns = np.unravel_index(change.changed, tuple(s.stop - s.start for s in change.window))
        top, left = (s.start for s in change.window)
        return (
            slice(top + int(rows.min()), top + int(rows.max()) + 1),
            slice(left + int(columns.min()), left + int(columns.max()) + 1),
        )

    def _swept(self, path: NDArray[np.float64], radius: float) -> tuple[_Window, NDArray[np.bool_]]:
        """Return which pixels a disc covers on its way, in a window; a radius of 0 is the line."""
        h, w = self.numbers.shape
        # Pixels are named after their middles.
        x, y = (path - 0.5).T
        low = [int(np.clip(v.min() - radius - 1, 0, n - 1)) for v, n in ((y, h), (x, w))]
        high = [int(np.clip(v.max() + radius + 3, 1, n)) for v, n in ((y, h), (x, w))]
        picture = Image.new("1", (high[1] - low[1], high[0] - low[0]))
        draw = ImageDraw.Draw(picture)
        at = np.stack([x - low[1], y - low[0]], axis=1)
        draw.line([tuple(p) for p in at] * (1 if len(at) > 1 else 2), fill=1, width=max(round(2 * radius), 1))
        if radius:
            for px, py in at:
                draw.ellipse([px - radius, py - radius, px + radius, py + radius], fill=1)
        return (slice(low[0], high[0]), slice(low[1], high[1])), np.asarray(picture)

    def _at(self, swept: tuple[_Window, NDArray[np.bool_]]) -> set[int]:
        window, inside = swept
        return set(np.unique(self.numbers[window][inside]).tolist()) - {0}

    def _touched(self, swept: tuple[_Window, NDArray[np.bool_]]) -> list[int]:
        found = sorted(self._at(swept))
        if not found:
            raise BadInputError("there is no particle under this stroke; begin on one")
        return found

    def _new(self, box: _Window) -> int:
        number, self._next = self._next, self._next + 1
        self._boxes[number] = box
        return number

    def _brush(self, path: NDArray[np.float64], wide: Any, thin: Any) -> Iterable[int]:
        window, inside = wide
        row, column = (int(np.clip(v, 0, n - 1)) for v, n in zip(path[0][::-1], self.numbers.shape, strict=True))
        number, view = int(self.numbers[row, column]), self.numbers[window]
        if number:
            others = self._at(wide)
            self._boxes[number] = _union([self._boxes[number], window])
            view[inside] = number
            return {number, *others}
        free = inside & (view == 0)
        if free.sum() < self._least:
            raise BadInputError(_SMALL)
        number = self._new(window)
        view[free] = number
        return {number}

    def _erase(self, path: Any, wide: Any, thin: Any) -> Iterable[int]:
        touched = self._touched(wide)
        self.numbers[wide[0]][wide[1]] = 0
        return touched

    def _split(self, path: Any, wide: Any, thin: Any) -> Iterable[int]:
        from skimage.segmentation import watershed

        made: set[int] = set()
        for number in self._touched(thin):
            box = _union([self._boxes[number], thin[0]])
            piece = self.numbers[box] == number
            cut = np.zeros(piece.shape, dtype=bool)
            cut[tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(thin[0], box, strict=True))] = thin[1]
            parts, _ = ndimage.label(piece & ~cut)
            areas = np.bincount(parts.ravel())
            large = areas >= self._least
            large[0] = False
            if large.sum() < 2:
                continue
            # The line itself, and what is too small, go to the parts beside them.
            parts = watershed(np.zeros(piece.shape, np.uint8), np.where(large[parts], parts, 0), mask=piece)
            for part in np.flatnonzero(large)[1:]:
                made.add(self._new(box))
                self.numbers[box][parts == part] = max(made)
        if not made:
            what = "this line cuts no particle into two of 28 Å² or more"
            raise BadInputError(what, remedy="draw it from outside the particle to its other side")
        return made

    def _merge(self, path: Any, wide: Any, thin: Any) -> Iterable[int]:
        touched = sorted(self._at(thin))
        if len(touched) < 2:
            raise BadInputError("this line touches fewer than two particles; draw it from one into the other")
        box = _union([wide[0], *(self._boxes[n] for n in touched)])
        view, number = self.numbers[box], touched[0]
        self._boxes[number] = box
        view[np.isin(view, touched)] = number
        if ndimage.label(view == number)[1] > 1:
            window = self.numbers[wide[0]]
            window[wide[1] & (window == 0)] = number
        return {number}

    def _remove(self, path: Any, wide: Any, thin: Any) -> Iterable[int]:
        for number in self._touched(thin):
            view = self.numbers[self._boxes[number]]
            view[view == number] = 0
        return ()

    def _connect(self, numbers: Iterable[int]) -> None:
        """Give parts that are cut off numbers of their own, and delete what is too small."""
        for number in numbers:
            box = self._boxes[number]
            view = self.numbers[box]
            parts, count = ndimage.label(view == number)
            areas = np.bincount(parts.ravel(), minlength=1)[1:]
            for part in range(1, count + 1):
                if areas[part - 1] < self._least:
                    view[parts == part] = 0
                elif part != int(areas.argmax()) + 1:
                    view[parts == part] = self._new(box)


def _union(windows: list[_Window]) -> _Window:
    return (
        slice(min(w[0].start for w in windows), max(w[0].stop for w in windows)),
        slice(min(w[1].start for w in windows), max(w[1].stop for w in windows)),
    )
