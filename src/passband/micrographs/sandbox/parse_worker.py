"""The process that opens a file from elsewhere: little memory and time, and no right to start programs, connect or write.

`parsing.parse` starts it; it writes images as .npy and an answer as JSON into its own folder.
"""

import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError, parameter
from passband.micrographs import formats
from passband.micrographs.formats import decode
from passband.micrographs.micrograph import Calibration

#: File of a movie's frames, one after the other.
FRAMES = "frames.raw"
#: Exit status of a worker whose disk was full.
NO_ROOM = 3
_FORBIDDEN = {f"os.{name}" for name in ("exec", "fork", "posix_spawn", "spawn", "system")}
_FORBIDDEN |= {"socket.bind", "socket.connect", "subprocess.Popen"}
# Imported by the readers' array library where installed; not needed, and slow.
_UNUSED = ("distributed", "pandas", "pyarrow", "sparse")
_SYSTEM = ("/etc", "/lib", "/proc", "/sys", "/usr")
# What is known of an image besides its pixels.
_KNOWN = ("pixel_size_angstrom", "energy_ev", "dose_per_angstrom2", "notes", "scanned", "offset", "gain")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def limit(memory: int, seconds: int) -> None:
    """Limit memory, processor time and file size of this process, and disable core dumps."""
    wanted = {
        resource.RLIMIT_DATA: (memory, memory),
        # RosettaSciIO maps the file twice.
        resource.RLIMIT_AS: (memory + 2 * decode.MOST_BYTES, memory + 2 * decode.MOST_BYTES),
        # The soft limit sends SIGXCPU; the hard limit would send SIGKILL, which means that memory ran out.
        resource.RLIMIT_CPU: (seconds, seconds + 5),
        resource.RLIMIT_FSIZE: (decode.MOST_BYTES + 1_000_000, decode.MOST_BYTES + 1_000_000),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, most if hard == resource.RLIM_INFINITY else (min(most[0], hard), min(most[1], hard)))


def guard(source: Path, folder: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook (`sys.addaudithook`): no programs, no connections, no file but the source and its description, writing only to the folder.

    It raises PermissionError, which libraries that look for their settings handle. Files of Python and the system may be read.
    """
    libraries = [*_SYSTEM, *(os.path.realpath(p) for p in {*sys.path, sys.prefix, sys.base_prefix} if p)]
    allowed = [os.path.realpath(folder), "/dev"]
    files = {os.path.realpath(source), os.path.realpath(formats.description(source))}

    def within(path: str, folders: list[str]) -> bool:
        return any(path.startswith(f.rstrip(os.sep) + os.sep) for f in folders)

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            raise PermissionError(f"asks for {event}, which no micrograph needs")
        if event == "open" and not isinstance(values[0], int):
            path = os.path.realpath(os.fsdecode(values[0]))
            if within(path, allowed):
                return
            if (values[2] or 0) & _WRITING:
                raise PermissionError(f"asks to write to {path[:100]}")
            if path not in files and not within(path, libraries):
                raise PermissionError(f"asks for another file, {path[:100]}, which is not followed")

    return hook


def answer(path: Path, frames: decode.Frames, folder: Path, given: Calibration | None = None) -> dict[str, Any]:
    """Write the images of a file into the folder and return their metadata for JSON; OSError if there is no room.

    Any fault of the file becomes one line under `refusal`, and `place` if it concerns one image; parameters stay marked.
    """
    images: list[dict[str, Any]] = []
    try:
        with warnings.catch_warnings(), ExitStack() as closing, decode.faults():
            warnings.simplefilter("ignore")
            data = formats.datasets(path, closing)
            for number, image in decode.micrographs(data, frames, path.name, given or Calibration()):
                name = f"{len(images)}.npy"
                np.save(folder / name, image.intensity, allow_pickle=False)
                known = {key: getattr(image, key) for key in _KNOWN}
                images.append({"file": name, "shape": image.intensity.shape, "number": number, **known})
    except BadInputError as error:
        place, error.place = error.place, None
        return {"refusal": error.text(parameter), "place": place}
    return {"images": images}


def answer_movie(path: Path, frames: Any, folder: Path, given: Calibration) -> dict[str, Any]:
    """Write the frames of a movie into one file as they were recorded, and return what is known of it, or the refusal, as `answer` does."""
    means, flat = [], []
    try:
        with warnings.catch_warnings(), ExitStack() as closing, decode.faults():
            warnings.simplefilter("ignore")
            facts, images = decode.movie(formats.datasets(path, closing), frames, path.name, given)
            with (folder / FRAMES).open("wb") as file:
                for number, image in enumerate(images, facts["first"]):
                    if image.dtype.kind == "f" and not np.isfinite(image).all():
                        raise BadInputError(f"frame {number} holds values that are not finite; repair it first")
                    file.write(np.ascontiguousarray(image, facts["dtype"]).tobytes())
                    means.append(float(image.mean(dtype=np.float64)))
                    flat.append(bool(image.min() == image.max()))
    except BadInputError as error:
        return {"refusal": error.text(parameter), "place": None}
    return facts | {"means": means, "flat": flat}


def main() -> int:
    """Read the file that the arguments name: path, folder, frames, calibration, bytes of memory, seconds, whether it is a movie."""
    path, folder, frames, given, memory, seconds, movie = (json.loads(a) for a in sys.argv[1:8])
    limit(memory, seconds)
    sys.modules |= dict.fromkeys(_UNUSED)  # type: ignore[arg-type]
    sys.addaudithook(guard(Path(path), Path(folder)))
    try:
        work = answer_movie if movie else answer
        text = json.dumps(work(Path(path), frames, Path(folder), Calibration(**given)), allow_nan=False)
        (Path(folder) / "answer.json").write_text(text, encoding="utf-8")
    except OSError as error:
        if error.errno in decode.DISK_FULL:
            return NO_ROOM
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
