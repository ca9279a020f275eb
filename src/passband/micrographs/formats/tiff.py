"""TIFF, .tif and .tiff: of vendors, ImageJ, OME and passband."""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

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

_NAMES = {"T": "time", "Z": "depth", "I": "image series", "Y": "y", "X": "x"}
# Compressions that lose contrast, and those that may.
_LOSSY = re.compile(r"^(O?JPEG|JPEG_LOSSY)$")
_OFTEN_LOSSY = re.compile(r"JPEG|JP2|JPEGXL|JPEGXR|WEBP|LERC|NDPI|ETC")
# A declaration of a type may define entities that expand without end; OME has none.
_DECLARED = re.compile(r"<!(DOCTYPE|ENTITY)")
_MOST_XML, _MOST_INFO = 20_000_000, 100_000


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the series of a file.

    RosettaSciIO reads the calibrations of vendors but drops OME's unit, and ImageJ's unless it is the micron: both are read here.
    tifffile decodes pixels page by page, where RosettaSciIO would decode the whole stack.
    """
    entries = file_reader(str(path), lazy=True, _multifile=False)
    file = closing.enter_context(tifffile.TiffFile(path, _multifile=False))
    scales = _ome_scales(file)
    return [_dataset(file, *parts) for parts in zip(file.series, entries, scales, strict=True)]


def _dataset(
    file: tifffile.TiffFile, series: tifffile.TiffPageSeries, entry: dict[str, Any], ome: tuple[Axis, Axis] | None
) -> Dataset:
    page = series.keyframe
    vendor = {a["name"]: axis(a) for a in entry["axes"] if "name" in a}
    rows, columns = vendor.get("height", Axis(0)), vendor.get("width", Axis(0))
    origin, uncalibrated = "from the file", ""
    if ome:
        (rows, columns), origin = ome, "from the file's OME metadata"
    elif not (rows.units and columns.units):
        rows, columns, origin, uncalibrated = _resolution(file, page, rows, columns)
    noted = file.imagej_metadata or {}
    scales = {"Y": rows, "X": columns, "T": _interval(noted)}
    axes = tuple(
        replace(scales.get(letter, Axis(0)), size=size, name=_NAMES.get(letter, ""), stacked=None)
        for letter, size in zip(series.axes, series.shape, strict=True)
        if letter != "S"
    )
    # Lines of ImageJ's Image > Show Info, where passband writes what TIFF has no tag for.
    info = dict(re.findall(r"^(.{1,100}?) = (.{1,100})$", str(noted.get("Info", ""))[:_MOST_INFO], re.MULTILINE))
    palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
    inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
    notes = ["stored with black as the highest value; inverted"] if inverted else []
    compression = getattr(page.compression, "name", "")
    if _OFTEN_LOSSY.search(compression):
        certain = "is lossy and alters" if _LOSSY.match(compression) else "may be lossy and alter"
        notes.append(f"compressed as {compression}, which {certain} the contrast; export the original without it")
    decode = _decoder(series, len(axes))

    def frame(along: int | None, index: int) -> NDArray[Any]:
        if along:
            raise BadInputError("counts its images along another axis than the first; save it as a plain stack")
        pixels = decode(index)
        if not inverted:
            return pixels
        return ~pixels if pixels.dtype.kind in "bu" else -pixels

    return Dataset(
        axes,
        np.dtype(series.dtype),
        frame,
        fault="stores its values by a palette; save it as grey values" if palette else None,
        energy_ev=metadata.beam_energy_ev(entry) or units.energy_ev(info.get("Energy (eV)")),
        dose=metadata.dose({"tags": entry["original_metadata"], "info": info}),
        scanned=noted.get("modality") == "STEM" or _scanned(page, entry["original_metadata"]),
        colour="S" in series.axes,
        origin=origin,
        uncalibrated=uncalibrated,
        notes=tuple(notes),
    )


def _interval(noted: Mapping[str, Any]) -> Axis:
    """Return the axis of time as ImageJ describes it."""
    try:
        step = float(noted.get("finterval", 0))
    except (TypeError, ValueError):
        step = 0.0
    return Axis(0, units="s", scale=step) if 0 < step < math.inf else Axis(0)


def _scanned(page: tifffile.TiffPage, tags: Any) -> bool:
    """Return whether the tags are those of a Zeiss SEM, of a scan (FEI, Thermo Fisher), or of JEOL's scanning device (ASID)."""
    mode = metadata.lookup(tags, "ImageDescription.Eos.EosMode")
    return page.is_sem or metadata.lookup(tags, "fei_metadata.Scan") is not None or str(mode).upper().endswith("ASID")


def _decoder(series: tifffile.TiffPageSeries, dimensions: int) -> Callable[[int], NDArray[Any]]:
    """Return a function that decodes image i of a series; a stack stored as one page is decoded at once."""
    paged = len(series.pages) == (series.shape[0] if dimensions == 3 else 1)
    planar = "S" in series.axes and series.axes.index("S") < series.axes.index("Y")
    whole: list[NDArray[Any]] = []

    def decoded(index: int) -> NDArray[Any]:
        if paged:
            page = series.pages[index]
            if page is None:
                raise BadInputError(f"lacks image {index}; it is incomplete: copy it again")
            pixels = page.asarray(maxworkers=1)
        else:
            if claimed(series.shape, series.dtype) > MOST_BYTES:
                raise BadInputError(f"is a stack in one piece of more than {MOST_BYTES / 1e9:.1f} GB; split it first")
            if not whole:
                whole.append(series.asarray(maxworkers=1))
            pixels = whole[0][index] if dimensions == 3 else whole[0]
        pixels = pixels.squeeze() if pixels.ndim > 2 else pixels
        return np.moveaxis(pixels, 0, -1) if planar and pixels.ndim == 3 else pixels

    return decoded


def _ome_scales(file: tifffile.TiffFile) -> list[tuple[Axis, Axis] | None]:
    """Return the axes of rows and columns of each series as OME metadata describe them, or None."""
    text = file.pages.first.description
    shapes = [tuple(size for letter, size in zip(s.axes, s.shape, strict=True) if letter in "YX") for s in file.series]
    if not isinstance(text, str) or "<OME" not in text[:10_000] or len(text) > _MOST_XML or _DECLARED.search(text):
        return [None] * len(shapes)
    try:
        pixels = [e.attrib for e in ElementTree.fromstring(text).iter() if e.tag.rpartition("}")[2] == "Pixels"]  # noqa: S314
    except ElementTree.ParseError:
        return [None] * len(shapes)
    scales: list[tuple[Axis, Axis] | None] = []
    for i, shape in enumerate(shapes):
        alike = [p for p in pixels if (p.get("SizeY"), p.get("SizeX")) == tuple(map(str, shape))]
        # The series are the images in order; if some are missing, an image is known by its shape alone.
        of_series = pixels[i : i + 1] if len(pixels) == len(shapes) else []
        options = [p for p in of_series if p in alike] or alike
        found = {tuple(_ome_axis(p, name) for name in "YX") for p in options}
        first = next(iter(found), None)
        scales.append(first if len(found) == 1 and first and any(a.scale for a in first) else None)  # type: ignore[arg-type]
    return scales


def _ome_axis(pixels: Mapping[str, str], name: str) -> Axis:
    try:
        size = float(pixels.get(f"PhysicalSize{name}", ""))
    except ValueError:
        size = math.nan
    unit = units.tidy(pixels.get(f"PhysicalSize{name}Unit", "µm"))
    return Axis(0, units=unit, scale=size if 0 < size < math.inf else None)


def _resolution(
    file: tifffile.TiffFile, page: tifffile.TiffPage, rows: Axis, columns: Axis
) -> tuple[Axis, Axis, str, str]:
    """Return both image axes, the origin of their scale, and why there is none, from the tags of the resolution."""
    steps = [_step(page.tags.get(f"{n}Resolution")) for n in "YX"]
    if steps == [None, None]:
        return rows, columns, "", "the file has none"
    unit = units.tidy((file.imagej_metadata or {}).get("unit"))
    origin = "from the file, as ImageJ writes it"
    if not unit:
        code = page.tags.valueof("ResolutionUnit", default=2)
        unit, origin = {2: "inch", 3: "cm"}.get(int(code), ""), "from the file's resolution"
        factor, (low, high) = units.in_angstrom(unit) or 0.0, PIXEL_SIZE_ANGSTROM
        if not all(step is not None and low <= step * factor <= high for step in steps):
            why = "the file has none"
            if steps[1] and factor:
                why += f", but for {2.54e8 / (steps[1] * factor):.4g} dots per inch, as of a screen or printer"
            return rows, columns, "", why
    return Axis(0, units=unit, scale=steps[0]), Axis(0, units=unit, scale=steps[1]), origin, ""


def _step(tag: Any) -> float | None:
    """Return the width of a pixel in the unit of the resolution."""
    try:
        number, divisor = tag.value
        step = float(divisor) / float(number)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError):
        return None
    return step if step > 0 else None
