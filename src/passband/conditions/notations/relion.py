"""RELION's STAR files, versions 1 to 5: a row per micrograph or particle as `ctffind` content, with its pixel size and beam tilt.

Parsing by gemmi, which reads STAR as it reads CIF. The phase of beam tilt t [rad] with Cs is 2π Cs λ² q² (q · t), which is the coma
C21 = 3 Cs |t| along t (RELION's fftw.cpp, selfApplyBeamTilt; Glaeser et al., J. Struct. Biol. 174 (2011) 1).
"""

import math
import re
from typing import Any, NamedTuple

from passband.conditions.notations import ctffind
from passband.conditions.notations.quantities import parsed

_COLUMNS = {
    "_rlnDefocusU": "defocus_u",
    "_rlnDefocusV": "defocus_v",
    "_rlnDefocusAngle": "defocus_angle",
    "_rlnVoltage": "voltage_kv",
    "_rlnSphericalAberration": "cs_mm",
    "_rlnAmplitudeContrast": "amplitude_contrast",
    "_rlnPhaseShift": "phase_shift_deg",
}
_MICROGRAPH = ("_rlnMicrographPixelSize", "_rlnTomoTiltSeriesPixelSize")
_PARTICLE = ("_rlnImagePixelSize",)
# RELION up to 3.0 has these for whatever the file lists; the detector's pixel [µm] over the magnification is one, too.
_OLD = ("_rlnPixelSize", "_rlnDetectorPixelSize")
_UNBINNED = ("_rlnMicrographOriginalPixelSize",)
_TILT = ("_rlnBeamTiltX", "_rlnBeamTiltY")
# What else changes the transfer, and the value at which it does nothing.
_IGNORED = re.compile(
    "_rln(OddZernike|EvenZernike|CtfBfactor|CtfScalefactor|MagMat|ChromaticAberration|ConvergenceCone|EnergyLoss"
    "|LensStability|LongitudinalDisplacement|TransversalDisplacement)"
)
_NEUTRAL = {"_rlnCtfScalefactor": 1.0, "_rlnMagMat00": 1.0, "_rlnMagMat11": 1.0}


class Row(NamedTuple):
    """A micrograph or particle: its name, fields of a condition, and what is unknown, ignored or doubtful about it."""

    name: str
    fields: dict[str, Any]
    notes: list[str]


def rows(text: str) -> list[Row]:
    """Return the micrographs or particles of a STAR file; optics groups are looked up.

    ValueError if the text is no STAR file, has no defocus, or gives one quantity two values.
    """
    groups: dict[str, dict[str, str]] = {}
    micrographs: list[dict[str, str]] = []
    for block, table in _tables(text):
        if block == "optics":
            for row in table:
                group = row.get("_rlnOpticsGroup", "")
                if group in groups:
                    raise ValueError(f"optics group {group or 'without a number'} is given twice; keep one of them")
                groups[group] = row
        else:
            micrographs += [row for row in table if "_rlnDefocusU" in row]
    if not micrographs:
        raise ValueError("has no _rlnDefocusU; give a STAR file of micrographs or particles with estimated defocus")
    return [_row(_with_optics(row, groups), i) for i, row in enumerate(micrographs)]


def _tables(text: str) -> list[tuple[str, list[dict[str, str]]]]:
    """Return the tables of a STAR file with the names of their blocks; a block without loop_ is a table of one row."""
    # Imported here because it takes a tenth of a second.
    from gemmi import cif

    try:
        document = cif.read_string(text)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"not a STAR file: {' '.join(str(error).split())}") from None
    tables = []
    for block in document:
        pairs: list[Any] = [item.pair for item in block if item.pair is not None]
        loops = [item.loop for item in block if item.loop is not None]
        # Tags and values, row by row, of each table.
        found: list[Any] = [zip(*pairs, strict=True)] if pairs else []
        for tags, values in [*found, *((loop.tags, loop.values) for loop in loops)]:
            for tag in tags:
                if tags.count(tag) > 1:
                    raise ValueError(f"{tag} is given twice in data_{block.name}; keep one of them")
            rows = [values[i : i + len(tags)] for i in range(0, len(values), len(tags))]
            tables.append((block.name, [dict(zip(tags, map(cif.as_string, row), strict=True)) for row in rows]))
    return tables


def _with_optics(row: dict[str, str], groups: dict[str, dict[str, str]]) -> dict[str, str]:
    group = row.get("_rlnOpticsGroup")
    if groups and group is not None and group not in groups:
        raise ValueError(f"_rlnOpticsGroup is {group}, which data_optics lacks; it has {', '.join(groups)}")
    if group is None and len(groups) > 1:
        raise ValueError(f"data_optics has {len(groups)} groups and the rows no _rlnOpticsGroup; add the column")
    optics = (groups[group] if group is not None else next(iter(groups.values()))) if groups else {}
    for tag in (*_COLUMNS, *_MICROGRAPH, *_PARTICLE, *_OLD, *_TILT):
        one, other = row.get(tag, ""), optics.get(tag, "")
        if one and other and not math.isclose(parsed(tag, one), parsed(tag, other), rel_tol=1e-3):
            raise ValueError(f"{tag} is {one} in the row and {other} in its optics group; correct one of them")
    return optics | row


def _row(row: dict[str, str], index: int) -> Row:
    content = {name: parsed(tag, row[tag]) for tag, name in _COLUMNS.items() if tag in row}
    pixel, origin = _pixel_size(row)
    content |= {} if pixel is None else {"pixel_size": pixel}
    notes = [origin] if origin else []
    fields = ctffind.read(content)
    tilt = [1e-3 * parsed(tag, row.get(tag, "0")) for tag in _TILT]
    if any(tilt):
        cs = fields["aberrations"]["C30"]
        fields["aberrations"] |= {"C21": 3 * cs * math.hypot(*tilt), "phi21": math.atan2(tilt[1], tilt[0])}
        notes += [] if cs else ["_rlnBeamTiltX and Y are coma with Cs, which is not given or zero; they are ignored"]
    ignored = sorted(tag for tag in row if _IGNORED.match(tag) and not _does_nothing(tag, row[tag]))
    if ignored:
        notes.append(f"{', '.join(ignored)} would change the transfer and cannot be read; the condition is without it")
    for doubt in ctffind.doubts({"pixel_size": 0.0} | content):
        notes.append(re.sub("defocus_(u|angle)", lambda m: f"_rlnDefocus{m[1].title()}", doubt))
    name = row.get("_rlnMicrographName") or row.get("_rlnImageName") or f"row {index + 1}"
    return Row(name, fields, notes)


def _pixel_size(row: dict[str, str]) -> tuple[float | None, str]:
    """Return the pixel size of a row's image [Å], None if it is unknown, and what is to be said of it."""
    sizes = {tag: parsed(tag, row[tag]) for tag in (*_MICROGRAPH, *_PARTICLE, *_OLD, *_UNBINNED) if tag in row}
    magnification = parsed("_rlnMagnification", row.get("_rlnMagnification", "0"))
    detector = sizes.pop("_rlnDetectorPixelSize", 0.0)
    if detector and magnification:
        sizes["_rlnDetectorPixelSize"] = 1e4 * detector / magnification
    listed: tuple[str, ...] = (*_PARTICLE, *_MICROGRAPH)
    if "_rlnImageName" in row or "_rlnMicrographName" in row:
        listed = _PARTICLE if "_rlnImageName" in row else _MICROGRAPH
    named = [(tag, sizes[tag]) for tag in (*listed, *_OLD) if tag in sizes]
    for tag, size in named:
        if not math.isclose(size, named[0][1], rel_tol=0.01):
            first = "{} gives pixels of {:g} Å".format(*named[0])
            raise ValueError(f"{first} and {tag} of {size:g} Å; correct or remove one of them")
    if named:
        return named[0][1], ""
    for tag in (*_MICROGRAPH, *_PARTICLE, *_UNBINNED):
        if tag in sizes:
            return sizes[tag], f"the pixel size is taken from {tag}, {sizes[tag]:g} Å; is that of these images?"
    remedy = "add _rlnMicrographPixelSize or _rlnImagePixelSize"
    return None, f"no column gives the pixel size, so 0.4 Å is assumed; {remedy}"


def _does_nothing(tag: str, text: str) -> bool:
    words = text.strip("[]").replace(",", " ").split()
    return all(w.lower() in ("none", "null", ".", "?") or parsed(tag, w) == _NEUTRAL.get(tag, 0.0) for w in words)
