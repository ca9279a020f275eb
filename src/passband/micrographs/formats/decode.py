"""From data sets to images: which axes are an image's, which count images, how large a pixel is, and what is refused."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError
from passband.micrographs.formats import units
from passband.micrographs.formats.dataset import Axis, Dataset
from passband.micrographs.micrograph import SIDE_PIXELS

#: Which images of a stack: its default, one by its number from 0, their sum, or each by itself.
Frames = int | Literal["sum", "each"] | None
#: Bytes of one file, and of what is decoded from it.
MOST_BYTES = 2 * 1024**3
_MOVIE = re.compile(r"(movie|frames|fractions)", re.IGNORECASE)
_COUNTING = re.compile(r"^(t|time|times|frame|frames|image|images|index|slice|slices|z|depth|image series|stack|n)$")
_MOST_IMAGES = 100_000
# Gatan writes both pixel sizes as single precision numbers; a real difference is larger.
_SQUARE = 1e-3


@dataclass(frozen=True, eq=False)
class Picture:
    """One image with what its file says of it.

    Attributes:
        intensity: (h, w) float32.
        pixel_size_angstrom: of the image, if known [Å].
        calibration: where the pixel size comes from, or why there is none.
        energy_ev: if known [eV].
        dose_per_angstrom2: if known [e/Å²].
        number: of the image among several, from 0, or None.
        said: what was done to get it, in sentences.
    """

    intensity: NDArray[np.float32]
    pixel_size_angstrom: float | None
    calibration: str
    energy_ev: float | None
    dose_per_angstrom2: float | None
    number: int | None
    said: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Plan:
    dataset: Dataset
    stack: int | None
    count: int
    movie: bool
    turned: bool
    shape: tuple[int, int]
    pixel: float | None
    calibration: str


def pictures(found: list[Dataset], frames: Frames, name: str) -> Iterator[Picture]:
    """Decode the images of a file, one after the other, so that never more than one is held besides a sum.

    Args:
        found: its data sets.
        frames: which images of a stack; by default a movie's sum, and each image of any other stack.
        name: of the file; one that says movie, frames or fractions is a movie's.

    Raises:
        BadInputError: if there is no image in it, or too much; the file's name is not in the message.
    """
    plans, left_out = _usable(found, name)
    jobs: list[tuple[_Plan, int | None]] = []
    for plan in plans:
        summed = plan.stack is not None and (frames == "sum" or (frames is None and plan.movie))
        jobs += [(plan, None)] if summed else [(plan, i) for i in range(plan.count)]
    several = len(jobs) > 1
    if isinstance(frames, int):
        if not 0 <= frames < len(jobs):
            raise BadInputError(
                f"has {len(jobs)} image{'s' * several}, and number {frames} is asked for; --frames counts from 0 to {len(jobs) - 1}"
            )
        numbered = [(frames, jobs[frames])]
    else:
        numbered = list(enumerate(jobs))
    _check_bytes([job for _, job in numbered])
    for number, (plan, index) in numbered:
        data = plan.dataset
        said = [f"image {number} of {len(jobs)}, counted from 0"] if several else []
        if index is None:
            said.append(f"{'a movie' if plan.movie else 'a stack'} of {plan.count} images, summed")
        yield Picture(
            _sum(plan) if index is None else _decode(plan, index),
            plan.pixel,
            plan.calibration,
            data.energy_ev,
            data.dose_per_angstrom2,
            number if several else None,
            (*said, *data.said, *left_out),
        )


def _usable(found: list[Dataset], name: str) -> tuple[list[_Plan], tuple[str, ...]]:
    plans, faults = [], []
    for data in found:
        try:
            plans.append(_plan(data, bool(_MOVIE.search(name))))
        except BadInputError as error:
            faults.append(str(error))
    if not plans:
        raise BadInputError(faults[0] if faults else "holds no image")
    largest = max(max(plan.shape) for plan in plans)
    thumbnails = [plan for plan in plans if plan.pixel is None and 2 * max(plan.shape) < largest]
    plans = [plan for plan in plans if plan not in thumbnails]
    faults += ["is a thumbnail"] * len(thumbnails)
    return plans, tuple(f"another data set of the file left out: it {fault.partition(';')[0]}" for fault in faults)


def _plan(data: Dataset, movie: bool) -> _Plan:
    axes = data.axes
    shape = tuple(axis.size for axis in axes)
    if data.fault is not None:
        raise BadInputError(data.fault)
    if data.dtype.kind == "c":
        raise BadInputError(
            "holds complex values, as a Fourier transform or an exit wave does; a micrograph is an intensity"
        )
    if data.dtype.kind not in "biuf":
        raise BadInputError(
            f"holds values of type {data.dtype.name[:40]}, which are no intensities; save it as numbers"
        )
    if any(units.is_energy(axis.units) for axis in axes) or (
        len(axes) > 1 and sum(axis.stacked is False for axis in axes) == 1
    ):
        raise BadInputError(f"holds spectra (shape {shape}), as EELS or EDS do, and no image; give an HRTEM image")
    if len(axes) < 2:
        raise BadInputError(
            f"holds one-dimensional data (shape {shape}), as a spectrum or line profile has, and no image"
        )
    if len(axes) > 3:
        raise BadInputError(
            f"holds {len(axes)}-dimensional data (shape {shape}), as 4D-STEM does; save one image or one stack of images"
        )
    stack = _stack(axes) if len(axes) == 3 else None
    rows, columns = (i for i in range(len(axes)) if i != stack)
    turned = axes[rows].name in ("x", "width") and axes[columns].name in ("y", "height")
    if turned:
        rows, columns = columns, rows
    pixel, calibration = _pixel(data, axes[rows], axes[columns])
    size = (axes[rows].size, axes[columns].size)
    if not all(SIDE_PIXELS[0] <= side <= SIDE_PIXELS[1] for side in size):
        raise BadInputError(
            f"claims images of {size[0]} x {size[1]} pixels; a micrograph has {SIDE_PIXELS[0]} to {SIDE_PIXELS[1]} pixels a side: crop it, or correct its header"
        )
    counting = None if stack is None else axes[stack]
    if counting is not None and counting.size > _MOST_IMAGES:
        raise BadInputError(
            f"claims {counting.size} images; at most {_MOST_IMAGES} can be read: split it, or correct its header"
        )
    timed = counting is not None and (
        units.is_time(counting.units) or counting.name in ("t", "time", "times", "frame", "frames")
    )
    return _Plan(
        data, stack, 1 if counting is None else counting.size, timed or movie, turned, size, pixel, calibration
    )


def _stack(axes: tuple[Axis, ...]) -> int:
    """Return which of three axes counts images, by what it is called and then by what it is measured in."""
    tests = (
        lambda axis: axis.stacked is True,
        lambda axis: units.is_time(axis.units),
        lambda axis: _COUNTING.match(axis.name) is not None,
        lambda axis: units.in_angstrom(axis.units) is None,
    )
    for test in tests:
        passed = [i for i in range(3) if test(axes[i])]
        if len(passed) == 1:
            return passed[0]
    return 0


def _pixel(data: Dataset, rows: Axis, columns: Axis) -> tuple[float | None, str]:
    for axis in (rows, columns):
        if units.is_reciprocal(axis.units):
            raise BadInputError(
                f"is a reciprocal-space image, as a diffraction pattern is (its pixels are measured in {axis.units}); give a real-space image"
            )
    sizes = []
    for axis in (rows, columns):
        factor = units.in_angstrom(axis.units)
        if data.uncalibrated or not axis.units or axis.scale is None:
            return None, data.uncalibrated or "the file has none"
        if factor is None:
            return None, f"the file has one in {axis.units!r}, which is not a length"
        sizes.append(axis.scale * factor)
    height, width = sizes
    if not math.isclose(height, width, rel_tol=_SQUARE):
        raise BadInputError(
            f"has pixels of {width:.5g} Å along x and {height:.5g} Å along y; resample it to square pixels first"
        )
    return (height + width) / 2, data.origin


def _check_bytes(jobs: list[tuple[_Plan, int | None]]) -> None:
    total = 0
    for plan, index in jobs:
        pixels = math.prod(plan.shape)
        frames = plan.count if index is None else 1
        total += max(pixels * plan.dataset.dtype.itemsize * frames, pixels * 4)
    if total > MOST_BYTES:
        raise BadInputError(
            f"claims {total / 1e9:.1f} GB of decoded images; at most {MOST_BYTES / 1e9:.1f} GB can be read: pick one with --frames, or crop or sum it first"
        )


def _decode(plan: _Plan, index: int) -> NDArray[np.float32]:
    pixels = plan.dataset.frame(plan.stack, index)
    if plan.dataset.colour:
        pixels = grey(pixels)
    if plan.turned:
        pixels = pixels.T
    if pixels.shape != plan.shape:
        raise BadInputError(
            f"holds an image of shape {pixels.shape} where its header claims {plan.shape}; it is damaged"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(pixels, dtype=np.float32)


def _sum(plan: _Plan) -> NDArray[np.float32]:
    total = np.zeros(plan.shape, dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(plan.count):
            total += _decode(plan, i)
    return total


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the one channel of an image whose colours are all alike; a constant transparency is dropped.

    Raises:
        BadInputError: if they are not.
    """
    channels = pixels.shape[-1]
    if pixels.ndim != 3 or not pixels.size:
        raise BadInputError(f"holds a colour image of shape {pixels.shape}; it is damaged: copy or export it again")
    if channels in (2, 4):
        opacity = pixels[..., -1]
        if (opacity != opacity.flat[0]).any():
            raise BadInputError("is partly transparent; save it as grey values without transparency")
        channels -= 1
    if any((pixels[..., 0] != pixels[..., i]).any() for i in range(1, channels)):
        raise BadInputError("is a colour image, whose channels differ; save the recorded grey values instead")
    return pixels[..., 0]
