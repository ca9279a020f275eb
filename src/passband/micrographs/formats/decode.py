"""From data sets to micrographs: choose the axes of the image and of the stack, scale the pixels, and refuse the rest."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, EFBIG, ENOSPC
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.micrographs.formats import units
from passband.micrographs.formats.dataset import Axis, Dataset
from passband.micrographs.micrograph import SIDE_PIXELS, Calibration, Micrograph

#: Images of a stack: the default, one by its number from 0, their sum, or each.
Frames = int | Literal["sum", "each"] | None
#: Largest file, and largest decoded content of one [bytes].
MOST_BYTES = 2 * 1024**3
_MOVIE = re.compile(r"(movie|frames|fractions)", re.IGNORECASE)
_COUNTING = re.compile(r"^(t|time|times|frame|frames|image|images|index|slice|slices|z|depth|image series|stack|n)$")
_TOO_MUCH = "claims more data than there is memory for; it is damaged, or no micrograph: crop it or export it again"
_MOST_IMAGES = 100_000
# Relative difference of the sides of a square pixel: Gatan writes them in single precision.
_SQUARE = 1e-3


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


def micrographs(
    data: list[Dataset], frames: Frames, name: str, given: Calibration
) -> Iterator[tuple[int | None, Micrograph]]:
    """Decode the images of a file one after the other, so that memory holds one image and at most one sum.

    Args:
        data: the data sets of the file.
        frames: images of a stack; by default the sum of a movie, each image of any other stack.
        name: of the file; one that contains movie, frames or fractions is a movie's.
        given: calibration that overrides the file's.

    Yields:
        The image's number among several, from 0, or None; and the image, not cleaned.

    Raises:
        BadInputError: if there is no image, too much data or no pixel size; the message does not name the file.
    """
    plans, left_out = _usable(data, name)
    jobs: list[tuple[_Plan, int | None]] = []
    for plan in plans:
        summed = plan.stack is not None and (frames == "sum" or (frames is None and plan.movie))
        jobs += [(plan, None)] if summed else [(plan, i) for i in range(plan.count)]
    several = len(jobs) > 1
    if isinstance(frames, int):
        if not 0 <= frames < len(jobs):
            raise BadInputError(
                f"has {len(jobs)} image{'s' * several}, and number {frames} is asked for; {parameter('frames')} counts from 0 to {len(jobs) - 1}",
                value=frames,
                limit=(0, len(jobs) - 1),
            )
        numbered = [(frames, jobs[frames])]
    else:
        numbered = list(enumerate(jobs))
    _check_bytes([job for _, job in numbered])
    for number, (plan, index) in numbered:
        notes = [f"image {number} of {len(jobs)}, counted from 0"] if several else []
        if index is None:
            notes.append(f"{'a movie' if plan.movie else 'a stack'} of {plan.count} images, summed")
        notes += [*plan.dataset.notes, *left_out]
        image_name = f"{name}#{number}" if several else name
        intensity = _sum(plan) if index is None else _decode(plan, index)
        yield number if several else None, _micrograph(intensity, plan, given, image_name, notes)


def _micrograph(
    intensity: NDArray[np.float32], plan: "_Plan", given: Calibration, name: str, notes: list[str]
) -> Micrograph:
    data = plan.dataset
    pixel = plan.pixel if given.pixel_size_angstrom is None else float(given.pixel_size_angstrom)
    if pixel is None:
        raise BadInputError(
            f"its pixel size is not known ({plan.calibration}), and none is assumed",
            remedy=f"give it with {parameter('pixel_size_angstrom')}, in Å",
            place=name,
        )
    low, high = intensity.min(), intensity.max()
    if low == high:
        raise BadInputError(
            f"every pixel has the value {low:g}, so there is no image in it; export it again", place=name
        )
    notes += [
        _note("pixel size", ".4f", "Å", given.pixel_size_angstrom, plan.pixel, plan.calibration),
        _note("energy", ".0f", "eV", given.energy_ev, data.energy_ev, "from the file's metadata"),
        _note("dose", ".4g", "e/Å²", given.dose_per_angstrom2, data.dose_per_angstrom2, "from the file's metadata"),
    ]
    return Micrograph(
        intensity=intensity,
        pixel_size_angstrom=pixel,
        energy_ev=data.energy_ev if given.energy_ev is None else float(given.energy_ev),
        dose_per_angstrom2=data.dose_per_angstrom2
        if given.dose_per_angstrom2 is None
        else float(given.dose_per_angstrom2),
        name=name,
        notes=tuple(notes),
    )


def _note(what: str, form: str, unit: str, given: float | None, stored: float | None, origin: str) -> str:
    """Return the sentence on one value: its origin, and what it overrides."""
    if given is None:
        return f"{what} not known" if stored is None else f"{what} {stored:{form}} {unit}, {origin}"
    if stored is None:
        return f"{what} {given:{form}} {unit}, given"
    if math.isclose(given, stored, rel_tol=1e-3):
        return f"{what} {given:{form}} {unit}, given, as the file says"
    return f"{what} {given:{form}} {unit}, given; the file says {stored:{form}} {unit}"


@contextmanager
def faults() -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file into a BadInputError that does not name the file.

    Raises:
        BadInputError: with fault and remedy.
        OSError: if the disk is full.
    """
    try:
        yield
    except BadInputError:
        raise
    except RecursionError:
        raise BadInputError("nests its contents too deeply to be a micrograph; export it again") from None
    except ImportError as error:
        raise BadInputError(f"needs a library that is missing here ({error}); install passband again") from None
    except MemoryError:
        raise BadInputError(_TOO_MUCH) from None
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise
        text = " ".join((f"it lacks {error}" if isinstance(error, KeyError) else str(error)).split())
        if "memory" in text.lower():
            raise BadInputError(_TOO_MUCH) from None
        raise BadInputError(f"cannot be read: {text[:150] or type(error).__name__}; copy or export it again") from None


def _usable(data: list[Dataset], name: str) -> tuple[list[_Plan], tuple[str, ...]]:
    plans, faults = [], []
    for one in data:
        try:
            plans.append(_plan(one, bool(_MOVIE.search(name))))
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
    """Return which of three axes counts images, by its name and then by its unit."""
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
            f"claims {total / 1e9:.1f} GB of decoded images; at most {MOST_BYTES / 1e9:.1f} GB can be read: pick one with {parameter('frames')}, or crop or sum it first"
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
    """Return the one channel of an image whose colour channels are equal; drop a constant transparency.

    Raises:
        BadInputError: if the channels differ.
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
