"""Read files from elsewhere in a process of their own with limited memory and time.

A damaged or hostile file can end that process only; here it becomes one line.
"""

import json
import math
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.files.atomic import disk_errors
from passband.micrographs import formats
from passband.micrographs.formats.decode import MOST_BYTES, Frames
from passband.micrographs.micrograph import Calibration, Micrograph
from passband.micrographs.sandbox import parse_worker

_MOST_ANSWER_BYTES = 50_000_000
_BROKEN = "makes its reader break off; it is damaged: copy it again, or export it as TIFF"
_ENVIRONMENT = {"DASK_SCHEDULER": "synchronous", "HDF5_PLUGIN_PRELOAD": "::", "HDF5_USE_FILE_LOCKING": "FALSE"}
_ENVIRONMENT |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
# Limits on a small file, and what each gigabyte of a large one adds.
_SECONDS, _SECONDS_PER_GB = 10, 30
_MEMORY, _MEMORY_PER_BYTE = 2 * 1024**3, 3


@dataclass(frozen=True)
class Limits:
    """Limits on opening one file."""

    seconds: int = 60  #: of processor time; twice as much on the clock
    memory_bytes: int = 4 * 1024**3  #: besides the file itself, which may be mapped


def parse(
    path: Path, frames: Frames = None, given: Calibration | None = None, limits: Limits | None = None
) -> list[Micrograph]:
    """Return the images of a file, not cleaned; BadInputError whatever is wrong with it.

    `given` overrides the file's calibration; by default `limits` are 10 s and 2 GiB, and more for files of gigabytes.
    """
    limits = limits or _limits(check_file(path))
    with disk_errors(Path(tempfile.gettempdir())):
        folder = tempfile.TemporaryDirectory(prefix="passband-")
    with folder as name, placed(path):
        status = _run(path, frames, given or Calibration(), limits, Path(name))
        return _collect(Path(name), status, limits, path.name)


def unpack_movie(path: Path, frames: tuple[int, int | None] | None, given: Calibration, folder: Path) -> dict[str, Any]:
    """Write the frames of a movie into a folder as one file, and return what is known of it (`decode.movie`); BadInputError as `parse`."""
    limits = _limits(check_file(path))
    with placed(path):
        folder = folder.absolute()
        return _answer(folder, _run(path, frames, given, limits, folder, movie=True), limits)


def _limits(size: int) -> Limits:
    return Limits(_SECONDS + int(_SECONDS_PER_GB * size / 1e9), _MEMORY + _MEMORY_PER_BYTE * size)


@contextmanager
def placed(name: object) -> Iterator[None]:
    """Name the source in errors that do not name one."""
    try:
        yield
    except BadInputError as error:
        error.place = error.place or str(name)
        raise


def check_file(path: Path) -> int:
    """Refuse what is no readable file of a known format and size; return its size [bytes]."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no path"
        raise BadInputError(f"cannot be read: {reason}; give the path of a micrograph", place=path) from None
    with placed(path):
        if not stat.S_ISREG(status.st_mode):
            raise BadInputError("is a folder, pipe or device; give the path of a micrograph")
        formats.check_ending(path)
        if status.st_size > MOST_BYTES:
            limit = f"at most {MOST_BYTES / 1e9:.1f} GB can be read"
            raise BadInputError(f"has {status.st_size / 1e9:.1f} GB; {limit}: crop it, or sum its frames first")
        if not os.access(path, os.R_OK):
            raise BadInputError("cannot be read: you lack the permission; ask its owner")
    return status.st_size


def _run(path: Path, frames: Any, given: Calibration, limits: Limits, folder: Path, *, movie: bool = False) -> int:
    """Run the worker; return its exit status: negative for the signal that ended it, −SIGXCPU if it took too long by the clock."""
    # Not resolved: a link has the ending that counts.
    arguments = [str(path.absolute()), str(folder), frames, asdict(given), limits.memory_bytes, limits.seconds, movie]
    # -P: import no module from the current folder.
    process = subprocess.Popen(  # noqa: S603 our own module, by this Python
        [sys.executable, "-P", "-W", "ignore", "-m", parse_worker.__name__, *(json.dumps(a) for a in arguments)],
        cwd=folder,
        env=os.environ | _ENVIRONMENT | {"TMPDIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(timeout=2 * limits.seconds)
    except subprocess.TimeoutExpired:
        return -signal.SIGXCPU
    finally:
        process.kill()
        process.wait()


def _collect(folder: Path, status: int, limits: Limits, name: str) -> list[Micrograph]:
    with _unbroken():
        return [_micrograph(folder, name, image) for image in _answer(folder, status, limits)["images"]]


def _answer(folder: Path, status: int, limits: Limits) -> dict[str, Any]:
    """Return what the worker wrote; BadInputError if it could not read the file."""
    time = limits.seconds
    faults = {
        parse_worker.NO_ROOM: f"cannot be unpacked: {folder.parent} is full; free some space, or choose another place with TMPDIR",
        -signal.SIGKILL: "takes more memory than this computer has free; close other programs, or crop it",
        -signal.SIGXCPU: f"takes more than {time} s to read; it is damaged, or no micrograph: crop it or export it again",
    }
    if status in faults:
        raise BadInputError(faults[status])
    file = folder / "answer.json"
    with _unbroken():
        if status != 0 or file.stat().st_size > _MOST_ANSWER_BYTES:
            raise BadInputError(_BROKEN)
        answer = json.loads(file.read_text(encoding="utf-8"))
        if answer.get("refusal"):
            raise BadInputError(str(answer["refusal"])[:600], place=str(answer.get("place") or "")[:500] or None)
        return answer


@contextmanager
def _unbroken() -> Iterator[None]:
    """Turn what a broken answer leads to into one line."""
    try:
        yield
    except BadInputError:
        raise
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        raise BadInputError(_BROKEN) from None


def _micrograph(folder: Path, name: str, image: dict[str, Any]) -> Micrograph:
    height, width = (int(side) for side in image["shape"])
    file = folder / Path(image["file"]).name
    if file.stat().st_size > 4 * height * width + 1024 or 4 * height * width > MOST_BYTES:
        raise ValueError("an image is larger than its stated shape")
    intensity = np.load(file, allow_pickle=False)
    file.unlink()
    names = ("pixel_size_angstrom", "energy_ev", "dose_per_angstrom2", "offset", "gain")
    numbers = {key: _number(image[key]) for key in names}
    if numbers["pixel_size_angstrom"] is None or None in (numbers["offset"], numbers["gain"]):
        raise ValueError("an image has no pixel size, offset or gain")
    return Micrograph(
        intensity.astype(np.float32, copy=False).reshape(height, width),
        name=name if image["number"] is None else f"{name}#{int(image['number'])}",
        notes=tuple(str(line)[:500] for line in image["notes"]),
        scanned=bool(image["scanned"]),
        **numbers,  # type: ignore[arg-type]
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
