"""Read files from elsewhere in a process of their own with limited memory and time.

A damaged or hostile file can end that process only; here it becomes one line.
"""

import json
import math
import os
import signal
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError, parameter
from passband.files.atomic import disk_errors
from passband.micrographs import formats
from passband.micrographs.formats.decode import MOST_BYTES, Frames
from passband.micrographs.micrograph import Calibration, Micrograph
from passband.micrographs.sandbox import parse_worker
from passband.micrographs.sandbox.limited import run_limited

_MOST_ANSWER_BYTES = 50_000_000
_BROKEN = "makes its reader break off; it is damaged: copy it again, or export it as TIFF"


@dataclass(frozen=True)
class Limits:
    """Limits on reading one file.

    Attributes:
        seconds: of processor time; twice as much on the clock.
        memory_bytes: besides the file itself, which may be mapped.
    """

    seconds: int = 60
    memory_bytes: int = 4 * 1024**3


def parse(
    path: Path, frames: Frames = None, given: Calibration | None = None, limits: Limits | None = None
) -> list[Micrograph]:
    """Return the images of a file, not cleaned.

    Args:
        path: the file.
        frames: images of a stack, see `formats.decode.micrographs`.
        given: calibration that overrides the file's.
        limits: on time and memory; None for the default.

    Raises:
        BadInputError: with file, fault and remedy, whatever is wrong with the file.
    """
    limits = limits or Limits()
    check_file(path)
    with disk_errors(Path(tempfile.gettempdir())):
        folder = tempfile.TemporaryDirectory(prefix="passband-")
    with folder as name:
        status = _run(path, frames, given or Calibration(), limits, Path(name))
        try:
            return _collect(Path(name), status, limits, path.name)
        except BadInputError as error:
            error.place = error.place or str(path)
            raise


def check_file(path: Path) -> None:
    """Refuse what is no readable file of a known format and size.

    Raises:
        BadInputError: with file, fault and remedy.
    """
    try:
        _check(path)
    except BadInputError as error:
        error.place = str(path)
        raise


def _check(path: Path) -> None:
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise BadInputError(f"cannot be read: {reason}; give the path of a micrograph") from None
    if not stat.S_ISREG(status.st_mode):
        raise BadInputError("is a folder, pipe or device; give the path of a micrograph")
    formats.check_ending(path)
    if status.st_size > MOST_BYTES:
        raise BadInputError(
            f"has {status.st_size / 1e9:.1f} GB; at most {MOST_BYTES / 1e9:.1f} GB can be read: crop it, or sum its frames first"
        )
    if not os.access(path, os.R_OK):
        raise BadInputError("cannot be read: you lack the permission; ask its owner")


def _run(path: Path, frames: Frames, given: Calibration, limits: Limits, folder: Path) -> int:
    """Run the worker; return its exit status, negative for the signal that ended it."""
    environment = {"DASK_SCHEDULER": "synchronous", "HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}
    arguments = [str(path.resolve()), str(folder), frames, asdict(given), limits.memory_bytes, limits.seconds]
    texts = [json.dumps(a) for a in arguments]
    return run_limited(parse_worker.__name__, texts, folder, limits.seconds, environment)


def _collect(folder: Path, status: int, limits: Limits, name: str) -> list[Micrograph]:
    """Return the images that a worker wrote, checking everything."""
    if status == parse_worker.NO_ROOM:
        raise BadInputError(
            f"cannot be unpacked: {tempfile.gettempdir()} is full; free some space, or choose another place with TMPDIR"
        )
    if status == -signal.SIGKILL:
        raise BadInputError("takes more memory than this computer has free; close other programs, or crop it")
    if status == -signal.SIGXCPU:
        raise BadInputError(
            f"takes more than {limits.seconds} s to read; it is damaged, or no micrograph: crop it or export it again"
        )
    if status != 0:
        raise BadInputError(_BROKEN)
    file = folder / "answer.json"
    try:
        if file.stat().st_size > _MOST_ANSWER_BYTES:
            raise BadInputError(_BROKEN)
        answer = json.loads(file.read_text(encoding="utf-8"))
        refusal = answer.get("refusal")
        place = answer.get("place")
        images = [] if refusal else [_micrograph(folder, name, image) for image in answer["images"]]
    except BadInputError:
        raise
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        raise BadInputError(_BROKEN) from None
    if refusal:
        raise BadInputError(_plain(refusal), place=_plain(place) if place else None)
    return images


def _micrograph(folder: Path, name: str, image: dict[str, Any]) -> Micrograph:
    height, width = (int(side) for side in image["shape"])
    file = folder / Path(image["file"]).name
    if file.stat().st_size > 4 * height * width + 1024 or 4 * height * width > MOST_BYTES:
        raise ValueError("an image is larger than its stated shape")
    intensity = np.load(file, allow_pickle=False)
    file.unlink()
    pixel = _number(image["pixel_size_angstrom"])
    if pixel is None:
        raise ValueError("an image has no pixel size")
    return Micrograph(
        intensity.astype(np.float32, copy=False).reshape(height, width),
        pixel,
        _number(image["energy_ev"]),
        _number(image["dose_per_angstrom2"]),
        name if image["number"] is None else f"{name}#{int(image['number'])}",
        tuple(_plain(line) for line in image["notes"]),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _plain(text: str) -> str:
    """Return a text from a file without control characters; the marks of parameters stay."""
    return "".join(c if c.isprintable() or c in parameter("") else "?" for c in str(text)[:500])
