"""Foreign files, read in a process of their own that may take only so much memory and time.

Whatever a damaged or hostile file does to its reader, it ends that process, and here it is one line.
"""

import json
import math
import os
import signal
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.files.atomic import disk_errors
from passband.micrographs import formats
from passband.micrographs.formats.picks import MOST_BYTES, Frames, Picture
from passband.micrographs.sandbox import parse_worker
from passband.micrographs.sandbox.limited import run_limited

_MOST_ANSWER_BYTES = 50_000_000
_BROKEN = "makes its reader break off; it is damaged: copy it again, or export it as TIFF"


@dataclass(frozen=True)
class Limits:
    """What reading one file may take.

    Attributes:
        seconds: of processor time; on the clock it may be twice as much.
        memory_bytes: of memory, besides the file itself, which may be mapped.
    """

    seconds: int = 60
    memory_bytes: int = 4 * 1024**3


def parse(path: Path, frames: Frames = None, limits: Limits | None = None) -> list[Picture]:
    """Return the images of a file.

    Args:
        path: the file.
        frames: which images of a stack, see `formats.picks.pictures`.
        limits: what it may take; None for the default.

    Raises:
        BadInputError: naming file, fault and remedy, whatever is wrong with the file.
    """
    limits = limits or Limits()
    try:
        _check(path)
        with disk_errors(Path(tempfile.gettempdir())):
            folder = tempfile.TemporaryDirectory(prefix="passband-")
        with folder as name:
            status = _run(path, frames, limits, Path(name))
            return _collect(Path(name), status, limits)
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def _check(path: Path) -> None:
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise BadInputError(f"cannot be read: {reason}; give the path of a micrograph") from None
    if not stat.S_ISREG(found.st_mode):
        raise BadInputError("is a folder, pipe or device; give the path of a micrograph")
    formats.check_ending(path)
    if found.st_size > MOST_BYTES:
        raise BadInputError(
            f"has {found.st_size / 1e9:.1f} GB; at most {MOST_BYTES / 1e9:.1f} GB can be read: crop it, or sum its frames first"
        )
    if not os.access(path, os.R_OK):
        raise BadInputError("cannot be read: you lack the permission; ask its owner")


def _run(path: Path, frames: Frames, limits: Limits, folder: Path) -> int:
    """Run the worker; return its exit status, negative for the signal that ended it."""
    environment = {"DASK_SCHEDULER": "synchronous", "HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}
    arguments = [str(path.resolve()), str(folder), frames, limits.memory_bytes, limits.seconds]
    words = [json.dumps(a) for a in arguments]
    return run_limited(parse_worker.__name__, words, folder, limits.seconds, environment)


def _collect(folder: Path, status: int, limits: Limits) -> list[Picture]:
    """Return what a worker left, trusting nothing of it."""
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
        pictures = [] if refusal else [_picture(folder, image) for image in answer["images"]]
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        raise BadInputError(_BROKEN) from None
    if refusal:
        raise BadInputError(_plain(refusal))
    return pictures


def _picture(folder: Path, image: dict[str, Any]) -> Picture:
    height, width = (int(side) for side in image["shape"])
    file = folder / Path(image["file"]).name
    if file.stat().st_size > 4 * height * width + 1024 or 4 * height * width > MOST_BYTES:
        raise ValueError("an image is larger than it is said to be")
    intensity = np.load(file, allow_pickle=False)
    file.unlink()
    return Picture(
        intensity.astype(np.float32, copy=False).reshape(height, width),
        _number(image["pixel_size_angstrom"]),
        _plain(image["calibration"]),
        _number(image["energy_ev"]),
        _number(image["dose_per_angstrom2"]),
        None if image["number"] is None else int(image["number"]),
        tuple(_plain(line) for line in image["said"]),
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _plain(text: str) -> str:
    """Return a text from a file without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:500])
