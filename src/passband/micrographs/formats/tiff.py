"""TIFF, .tif and .tiff: of vendors, ImageJ, OME and passband."""

import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from rsciio.tiff import file_reader

from passband.base.errors import BadInputError
from passband.micrographs.formats import metadata, units
from passband.micrographs.formats.dataset import Axis, Dataset, axis, claimed
from passband.micrographs.formats.decode import MOST_BYTES
from passband.micrographs.micrograph import PIXEL_SIZE_ANGSTROM

NAME = "a TIFF image"
SIGNATURES = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")

_OME = re.compile(r'PhysicalSize([XY])(Unit)?="([^"]{1,40})"')
_NAMES = {"T": "time", "Z": "depth", "I": "image series", "Y": "y", "X": "x"}


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the series of a file.

    RosettaSciIO reads the calibrations of vendors but drops OME's unit, and ImageJ's unless it is the micron: both are read here.
    tifffile decodes pixels page by page, where RosettaSciIO would decode the whole stack.
    """
    entries = file_reader(str(path), lazy=True, _multifile=False)
    file = closing.enter_context(tifffile.TiffFile(path, _multifile=False))
    return [_dataset(file, series, one) for series, one in zip(file.series, entries, strict=True)]


def _dataset(file: tifffile.TiffFile, series: tifffile.TiffPageSeries, entry: dict[str, Any]) -> Dataset:
    page = series.keyframe
    letters = [(letter, size) for letter, size in zip(series.axes, series.shape, strict=True) if letter != "S"]
    vendor = {a["name"]: axis(a) for a in entry["axes"] if "name" in a}
    origin, uncalibrated = "from the file", ""
    rows, columns = vendor.get("height", Axis(0)), vendor.get("width", Axis(0))
    if not (rows.units and columns.units):
        rows, columns, origin, uncalibrated = _scale(file, page, rows, columns)
    axes = tuple(
        replace({"Y": rows, "X": columns}.get(letter, Axis(0)), size=size, name=_NAMES.get(letter, ""), stacked=None)
        for letter, size in letters
    )
    fault = None
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        fault = "stores its values by a palette; save it as grey values"
    inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    decode = _decoder(series, len(axes))

    def frame(along: int | None, index: int) -> NDArray[Any]:
        if along:
            raise BadInputError("counts its images along another axis than the first; save it as a plain stack")
        pixels = decode(index)
        return _inverted(pixels) if inverted else pixels

    return Dataset(
        axes,
        np.dtype(series.dtype),
        frame,
        fault=fault,
        energy_ev=metadata.beam_energy_ev(entry),
        dose_per_angstrom2=metadata.dose_per_angstrom2(entry["original_metadata"]),
        colour="S" in series.axes,
        origin=origin,
        uncalibrated=uncalibrated,
        notes=("stored with black as the highest value; inverted",) if inverted else (),
    )


def _inverted(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.dtype.kind == "b":
        return ~pixels
    return np.iinfo(pixels.dtype).max - pixels if pixels.dtype.kind == "u" else -pixels


def _decoder(series: tifffile.TiffPageSeries, dimensions: int) -> Any:
    """Return a function that decodes image i of a series; a stack stored as one page is decoded at once."""
    count = series.shape[0] if dimensions == 3 else 1
    planar = "S" in series.axes and series.axes.index("S") < series.axes.index("Y")

    def tidy(pixels: NDArray[Any]) -> NDArray[Any]:
        pixels = pixels.squeeze() if pixels.ndim > 2 else pixels
        return np.moveaxis(pixels, 0, -1) if planar and pixels.ndim == 3 else pixels

    def one(index: int) -> NDArray[Any]:
        page = series.pages[index]
        if page is None:
            raise BadInputError(f"lacks image {index}; it is incomplete: copy it again")
        return tidy(page.asarray(maxworkers=1))

    if len(series.pages) == count:
        return one
    if claimed(series.shape, series.dtype) > MOST_BYTES:
        return _too_large
    whole: list[NDArray[Any]] = []

    def of_all(index: int) -> NDArray[Any]:
        if not whole:
            whole.append(series.asarray(maxworkers=1))
        return tidy(whole[0][index] if dimensions == 3 else whole[0])

    return of_all


def _too_large(index: int) -> NDArray[Any]:
    raise BadInputError(f"is a stack in one piece of more than {MOST_BYTES / 1e9:.1f} GB; split it first")


def _scale(file: tifffile.TiffFile, page: tifffile.TiffPage, rows: Axis, columns: Axis) -> tuple[Axis, Axis, str, str]:
    """Return both image axes, the origin of their scale, and why there is none."""
    description = page.description[:1_000_000] if isinstance(page.description, str) else ""
    if "PhysicalSizeX" in description and "<OME" in description:
        sizes_by_name = {name + unit: value for name, unit, value in _OME.findall(description)}
        sizes = [(_number(sizes_by_name.get(n)), units.tidy(sizes_by_name.get(f"{n}Unit", "µm"))) for n in "YX"]
        if all(size for size, _ in sizes):
            scaled = [Axis(0, units=unit, scale=size) for size, unit in sizes]
            return scaled[0], scaled[1], "from the file's OME metadata", ""
    steps = [_step(page, f"{n}Resolution") for n in "YX"]
    if None in steps:
        return rows, columns, "", "the file has none"
    unit = units.tidy((file.imagej_metadata or {}).get("unit"))
    origin = "from the file, as ImageJ writes it"
    if not unit:
        code = page.tags["ResolutionUnit"].value if "ResolutionUnit" in page.tags else 2
        unit, origin = {2: "inch", 3: "cm"}.get(int(code), ""), "from the file's resolution"
        factor, (low, high) = units.in_angstrom(unit) or 0.0, PIXEL_SIZE_ANGSTROM
        if not all(step is not None and low <= step * factor <= high for step in steps):
            why = "the file has none"
            if steps[1] and factor:
                why += f", but for {2.54e8 / (steps[1] * factor):.4g} dots per inch, as of a screen or printer"
            return rows, columns, "", why
    return Axis(0, units=unit, scale=steps[0]), Axis(0, units=unit, scale=steps[1]), origin, ""


def _step(page: tifffile.TiffPage, name: str) -> float | None:
    """Return the width of a pixel in the unit of the resolution."""
    tag = page.tags.get(name)
    try:
        number, divisor = tag.value
        return float(divisor) / float(number)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if 0 < value < 1e12 else None
