"""From data sets to micrographs: choose the axes of the image and of the stack, scale the pixels, and refuse the rest."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from errno import EDQUOT, EFBIG, ENOSPC
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.micrographs.formats import units
from passband.micrographs.formats.dataset import Axis, Dataset
from passband.micrographs.micrograph import SIDE_PIXELS, Calibration, Micrograph

#: Images of a stack: one by its number from 0, their sum, each, or None: the sum of a movie, each image of any other stack.
Frames = int | Literal["sum", "each"] | None
#: What the note on a movie ends with.
UNALIGNED = "summed without alignment"
#: Errors of a disk without room.
DISK_FULL = (ENOSPC, EDQUOT, EFBIG)
#: Largest file, and largest decoded content of one [bytes].
MOST_BYTES = 2 * 1024**3
_MOVIE = re.compile(r"(movie|frames|fractions)", re.IGNORECASE)
_COUNTING = re.compile(r"^(t|time|times|frame|frames|image|images|index|slice|slices|z|depth|image series|stack|n)$")
_TOO_MUCH = "claims more data than there is memory for; it is damaged, or no micrograph: crop it or export it again"
_MOST_IMAGES = 100_000
# Axes along which something else than time changes.
_NO_TIME = re.compile(r"depth|focus|tilt|angle", re.IGNORECASE)
# Relative difference of the sides of a square pixel: Gatan writes them in single precision.
_SQUARE = 1e-3
_CALIBRATIONS = (
    ("pixel_size_angstrom", "pixel size", ".4f", "Å"),
    ("energy_ev", "energy", ".0f", "eV"),
    ("dose_per_angstrom2", "dose", ".4g", "e/Å²"),
)


@dataclass(frozen=True, eq=False)
class _Plan:
    """How the images of a data set are decoded; `objection` says why its calibration is not that of a micrograph."""

    dataset: Dataset
    stack: int | None
    count: int
    movie: bool
    shape: tuple[int, int]
    pixel: float | None
    calibration: str
    objection: str | None


def micrographs(
    data: list[Dataset], frames: Frames, name: str, given: Calibration
) -> Iterator[tuple[int | None, Micrograph]]:
    """Decode the images of a file one after the other, so that memory holds one image and at most one sum.

    Yields the image's number among several, from 0, or None, and the image, not cleaned. A name that contains movie, frames or
    fractions is a movie's; `given` overrides the file's calibration. A BadInputError does not name the file.
    """
    plans, left_out = _usable(data, name, given)
    jobs: list[tuple[_Plan, int | None]] = []
    for plan in plans:
        summed = plan.stack is not None and (frames == "sum" or (frames is None and plan.movie))
        jobs += [(plan, None)] if summed else [(plan, i) for i in range(plan.count)]
    several, last = len(jobs) > 1, len(jobs) - 1
    numbered = list(enumerate(jobs))
    if isinstance(frames, int):
        numbered = numbered[frames : frames + 1] if frames >= 0 else []
        if not numbered:
            what = f"has {len(jobs)} image{'s' * several}, and number {frames} is asked for"
            remedy = f"{parameter('frames')} counts from 0 to {last}"
            raise BadInputError(what, value=frames, limit=(0, last), remedy=remedy)
    _check_bytes([job for _, job in numbered])
    for number, (plan, index) in numbered:
        notes = [f"image {number} of {len(jobs)}, counted from 0"] if several else []
        if index is None:
            kind, how = ("a movie", UNALIGNED) if plan.movie else ("a stack", "summed")
            notes.append(f"{kind} of {plan.count} images, {how}")
        if plan.dataset.scanned:
            notes.append("recorded by scanning (STEM or SEM)")
        notes += [*plan.dataset.notes, *left_out]
        image = _micrograph(plan, index, given, f"{name}#{number}" if several else name, notes)
        yield number if several else None, image


def movie(
    data: list[Dataset], frames: tuple[int, int | None] | None, name: str, given: Calibration
) -> tuple[dict[str, Any], Iterator[NDArray[Any]]]:
    """Return what is known of the movie of a file, and its frames as recorded, first to last, all by default.

    The dose that is given is that of a frame. A BadInputError does not name the file.
    """
    plans, left_out = _usable(data, name, given)
    stacks = [plan for plan in plans if plan.stack is not None and plan.count > 1]
    shapes = sorted({plan.shape for plan in plans}, reverse=True)
    if len(plans) > 1 and len(shapes) > 1:
        sizes = " and ".join(f"{w} × {h}" for h, w in shapes[:2])
        raise BadInputError(f"its images differ in size ({sizes} pixels); frames of a movie have one size: crop them")
    if not stacks:
        what = f"holds {len(plans)} images one by one" if len(plans) > 1 else "holds one image"
        raise BadInputError(f"{what}, and no movie", remedy="segment and check take it")
    if len(stacks) > 1:
        raise BadInputError(f"holds {len(stacks)} stacks; save the movie alone")
    plan, last = stacks[0], stacks[0].count - 1
    assert plan.stack is not None
    axis = plan.dataset.axes[plan.stack]
    if not plan.movie and (_NO_TIME.search(axis.name) or units.in_angstrom(axis.units)):
        along = axis.name or f"an axis in {axis.units}"
        what = f"counts its images along {along}, as a focal or tilt series does, and not in time"
        raise BadInputError(what, remedy="if it is a movie, give it a name with the word movie")
    first, end = frames or (0, None)
    end = last if end is None else end
    if not 0 <= first < end <= last:
        what = f"has frames 0 to {last}, and {parameter('frames')} {first} to {end} are asked for"
        remedy = "give the first and the last of at least two frames"
        raise BadInputError(what, value=[first, end], limit=[0, last], remedy=remedy)
    if given.pixel_size_angstrom is None and plan.pixel is None:
        what = f"its pixel size is not known ({plan.calibration}), and none is assumed"
        raise BadInputError(what, remedy=f"give it with {parameter('pixel_size_angstrom')}, in Å")
    size = (end - first + 1) * math.prod(plan.shape) * plan.dataset.dtype.itemsize
    if size > MOST_BYTES:
        limit = f"at most {MOST_BYTES / 1e9:.1f} GB can be read"
        remedy = f"give a part of it with {parameter('frames')}, or bin it first"
        raise BadInputError(f"its frames have {size / 1e9:.1f} GB; {limit}", remedy=remedy)
    whole, seconds = plan.dataset.dose.of(None, plan.count, movie=True), units.in_seconds(axis.units)
    facts: dict[str, Any] = {
        "total": plan.count,
        "first": first,
        "shape": plan.shape,
        "dtype": plan.dataset.dtype.str,
        "scanned": plan.dataset.scanned,
        "frame_seconds": axis.scale * seconds if axis.scale and seconds else None,
    }
    notes = [f"frames {first} to {end} of {plan.count}, counted from 0"]
    if not plan.movie:
        notes.append("the file does not say that its images are frames of a movie; they are taken for it")
    for (field, what, form, unit), own in zip(
        _CALIBRATIONS, (plan.pixel, plan.dataset.energy_ev, whole and whole / plan.count), strict=True
    ):
        stated = getattr(given, field)
        facts[field] = own if stated is None else float(stated)
        origin = plan.calibration if field == "pixel_size_angstrom" else "from the file's metadata"
        notes.append(_note("dose of a frame" if what == "dose" else what, form, unit, stated, own, origin))
    if plan.objection:
        notes.append(f"the file {plan.objection.partition(';')[0]}; the pixel size given is used instead")
    facts["notes"] = [*notes, *plan.dataset.notes, *left_out]
    return facts, (_decode(plan, i) for i in range(first, end + 1))


def _micrograph(plan: _Plan, index: int | None, given: Calibration, name: str, notes: list[str]) -> Micrograph:
    data = plan.dataset
    pixels = _sum(plan) if index is None else _decode(plan, index)
    if given.pixel_size_angstrom is None and plan.pixel is None:
        what = f"its pixel size is not known ({plan.calibration}), and none is assumed"
        remedy = f"give it with {parameter('pixel_size_angstrom')}, in Å"
        raise BadInputError(what, remedy=remedy, place=name)
    dose = data.dose.of(index, None if plan.stack is None else plan.count, plan.movie)
    values: dict[str, Any] = {}
    for (field, what, form, unit), own in zip(_CALIBRATIONS, (plan.pixel, data.energy_ev, dose), strict=True):
        stated = getattr(given, field)
        values[field] = own if stated is None else float(stated)
        origin = plan.calibration if field == "pixel_size_angstrom" else "from the file's metadata"
        notes.append(_note(what, form, unit, stated, own, origin))
    if plan.objection:
        notes.append(f"the file {plan.objection.partition(';')[0]}; the pixel size given is used instead")
    image = Micrograph(pixels, name=name, notes=tuple(notes), scanned=data.scanned, **values)
    if image.gain == 1.0:
        return image
    note = f"intensities are (value − {image.offset:.9g}) / {image.gain:.4g}, because single precision would blur the values"
    return replace(image, notes=(note, *image.notes))


def _note(what: str, form: str, unit: str, given: float | None, stored: float | None, origin: str) -> str:
    if given is None:
        return f"{what} not given" if stored is None else f"{what} {stored:{form}} {unit}, {origin}"
    text = f"{what} {given:{form}} {unit}, given"
    if stored is None:
        return text
    alike = math.isclose(given, stored, rel_tol=1e-3)
    return f"{text}, as the file says" if alike else f"{text}; the file says {stored:{form}} {unit}"


@contextmanager
def faults() -> Iterator[None]:
    """Turn whatever a reader raises on a damaged file, except that the disk is full, into a BadInputError without the file."""
    try:
        yield
    except RecursionError:
        raise BadInputError("nests its contents too deeply to be a micrograph; export it again") from None
    except ImportError as error:
        raise BadInputError(f"needs a library that is missing here ({error}); install passband again") from None
    except Exception as error:
        if isinstance(error, BadInputError) or getattr(error, "errno", None) in DISK_FULL:
            raise
        text = " ".join((f"it lacks {error}" if isinstance(error, KeyError) else str(error)).split())
        if isinstance(error, MemoryError) or "memory" in text.lower():
            raise BadInputError(_TOO_MUCH) from None
        raise BadInputError(f"cannot be read: {text[:150] or type(error).__name__}; copy or export it again") from None


def _usable(data: list[Dataset], name: str, given: Calibration) -> tuple[list[_Plan], tuple[str, ...]]:
    plans, faults = [], []
    for one in data:
        try:
            plans.append(_plan(one, bool(_MOVIE.search(name))))
        except BadInputError as error:
            faults.append(str(error))
    # A given pixel size overrides a wrong calibration, but chooses no diffraction pattern beside an image.
    objections = [plan.objection for plan in plans if plan.objection]
    if len(objections) < len(plans) or given.pixel_size_angstrom is None:
        plans = [plan for plan in plans if not plan.objection]
        faults += objections
    if not plans:
        raise BadInputError(faults[0] if faults else "holds no image")
    largest = max(max(plan.shape) for plan in plans)
    whole = [plan for plan in plans if plan.pixel is not None or 2 * max(plan.shape) >= largest]
    faults += ["is a thumbnail"] * (len(plans) - len(whole))
    return whole, tuple(f"another data set of the file left out: it {fault.partition(';')[0]}" for fault in faults)


def _plan(data: Dataset, movie: bool) -> _Plan:
    stack = _stack(data.axes) if len(data.axes) == 3 else None
    fault = _fault(data, stack)
    if fault is not None:
        raise BadInputError(fault)
    rows, columns = (axis for i, axis in enumerate(data.axes) if i != stack)
    counting = Axis(1) if stack is None else data.axes[stack]
    timed = units.is_time(counting.units) or counting.name in ("t", "time", "times", "frame", "frames")
    if rows.name in ("x", "width") and columns.name in ("y", "height"):
        note = "its axes are named x, y in the order of the array; rows and columns are taken as stored"
        data = replace(data, notes=(*data.notes, note))
    size = rows.size, columns.size
    return _Plan(data, stack, counting.size, timed or movie, size, *_pixel(data, rows, columns))


def _fault(data: Dataset, stack: int | None) -> str | None:
    """Return why a data set is no image or stack of images, or None."""
    axes, shape = data.axes, tuple(axis.size for axis in data.axes)
    sides = [size for i, size in enumerate(shape) if i != stack]
    low, high = SIDE_PIXELS
    if data.fault is not None:
        return data.fault
    if data.dtype.kind == "c":
        return "holds complex values, as a Fourier transform (FFT) or an exit wave does; a micrograph is an intensity"
    if data.dtype.kind not in "biuf":
        return f"holds values of type {data.dtype.name[:40]}, which are no intensities; save it as numbers"
    spectral = len(axes) > 1 and sum(axis.stacked is False for axis in axes) == 1
    if spectral or any(axis.units in ("eV", "keV", "meV") for axis in axes):
        return f"holds spectra (shape {shape}), as EELS or EDS do, and no image; give an HRTEM image"
    if len(axes) < 2:
        return f"holds one-dimensional data (shape {shape}), as a spectrum or line profile has, and no image"
    if len(axes) > 3:
        return f"holds {len(axes)}-dimensional data (shape {shape}), as 4D-STEM does; save one image or one stack of images"
    if not all(low <= side <= high for side in sides):
        claim = f"claims images of {sides[0]} x {sides[1]} pixels"
        return f"{claim}; a micrograph has {low} to {high} pixels a side: crop it, or correct its header"
    if stack is not None and shape[stack] > _MOST_IMAGES:
        return f"claims {shape[stack]} images; at most {_MOST_IMAGES} can be read: split it, or correct its header"
    return None


def _stack(axes: tuple[Axis, ...]) -> int:
    """Return which of three axes counts images, by its name and then by its unit."""
    tests = (
        [axis.stacked is True for axis in axes],
        [units.is_time(axis.units) for axis in axes],
        [_COUNTING.match(axis.name) is not None for axis in axes],
        [units.in_angstrom(axis.units) is None for axis in axes],
    )
    return next((passed.index(True) for passed in tests if sum(passed) == 1), 0)


def _pixel(data: Dataset, rows: Axis, columns: Axis) -> tuple[float | None, str, str | None]:
    """Return the pixel size [Å] if there is one, its origin or why there is none, and why it cannot be that of a micrograph."""
    sizes: list[float | None] = []
    lacks = data.uncalibrated or "the file has none"
    for axis in (rows, columns):
        if units.is_reciprocal(axis.units):
            what = f"is a reciprocal-space image, as a diffraction pattern is (its pixels are measured in {axis.units})"
            remedy = f"give a real-space image, or {parameter('pixel_size_angstrom')} if the unit is wrong"
            return None, lacks, f"{what}; {remedy}"
        factor = units.in_angstrom(axis.units)
        if axis.units and factor is None:
            lacks = f"the file has one in {axis.units!r}, which is not a length"
        sizes.append(axis.scale * factor if axis.scale and factor else None)
    height, width = sizes
    if data.uncalibrated or height is None or width is None:
        one = height or width
        if one and not data.uncalibrated:
            lacks = f"the file has it along {'y' if width is None else 'x'} only, {one:.4g} Å"
        return None, lacks, None
    if not math.isclose(height, width, rel_tol=_SQUARE):
        what = f"has pixels of {width:.5g} Å along x and {height:.5g} Å along y"
        remedy = f"resample it to square pixels first, or give {parameter('pixel_size_angstrom')} if one is wrong"
        return None, lacks, f"{what}; {remedy}"
    return (height + width) / 2, data.origin, None


def _check_bytes(jobs: list[tuple[_Plan, int | None]]) -> None:
    total = 0
    for plan, index in jobs:
        pixels, frames = math.prod(plan.shape), plan.count if index is None else 1
        total += max(pixels * plan.dataset.dtype.itemsize * frames, pixels * 4)
    if total > MOST_BYTES:
        limit = f"at most {MOST_BYTES / 1e9:.1f} GB can be read"
        remedy = f"pick one with {parameter('frames')}, or crop or sum it first"
        raise BadInputError(f"claims {total / 1e9:.1f} GB of decoded images; {limit}: {remedy}")


def _decode(plan: _Plan, index: int) -> NDArray[Any]:
    pixels = plan.dataset.frame(plan.stack, index)
    pixels = grey(pixels) if plan.dataset.colour else pixels
    if pixels.shape != plan.shape:
        what = f"holds an image of shape {pixels.shape} where its header claims {plan.shape}"
        raise BadInputError(f"{what}; it is damaged")
    return pixels


@np.errstate(over="ignore", invalid="ignore")
def _sum(plan: _Plan) -> NDArray[np.float64]:
    total = np.zeros(plan.shape)
    for i in range(plan.count):
        total += _decode(plan, i)
    return total


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return the one channel of an image whose colour channels are equal, without a constant transparency; refuse others."""
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
