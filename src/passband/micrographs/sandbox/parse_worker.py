"""The process that opens a foreign file: it may take little memory and time, and start, load or write nothing.

Started by `parsing.parse`; it leaves images as .npy and an answer as JSON in a folder of its own.
"""

import json
import os
import resource
import sys
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.micrographs import formats
from passband.micrographs.formats import picks

#: Status of a worker that found no room for its images.
NO_ROOM = 3
_FORBIDDEN = (
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "socket.bind",
    "socket.connect",
    "subprocess.Popen",
)
_TOO_MUCH = "claims more data than there is memory for; it is damaged, or no micrograph: crop it or export it again"
# What the readers' array library imports where it finds it; none is needed, and they take a second.
_UNUSED = ("distributed", "pandas", "pyarrow", "sparse")
_SYSTEM = ("/etc", "/lib", "/proc", "/sys", "/usr")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def limit(memory: int, seconds: int) -> None:
    """Limit what this process may take: memory, processor time, size of a file; no core is dumped."""
    wanted = {
        resource.RLIMIT_DATA: (memory, memory),
        # The file itself is mapped besides, by RosettaSciIO twice.
        resource.RLIMIT_AS: (memory + 2 * picks.MOST_BYTES, memory + 2 * picks.MOST_BYTES),
        # The soft limit ends the process with a signal of its own, the hard one with the signal of a full memory.
        resource.RLIMIT_CPU: (seconds, seconds + 5),
        resource.RLIMIT_FSIZE: (picks.MOST_BYTES + 1_000_000, picks.MOST_BYTES + 1_000_000),
        resource.RLIMIT_CORE: (0, 0),
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, most if hard == resource.RLIM_INFINITY else (min(most[0], hard), min(most[1], hard)))


def guard(source: Path, folder: Path) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook (`sys.addaudithook`) that lets nothing be run, sent or written, and no other file read.

    What it refuses fails as where the permission is lacking, which libraries that look for their settings can bear.

    Args:
        source: the one file to be read, besides those of Python and the system.
        folder: the one place to write to.
    """
    libraries = [*_SYSTEM, *(os.path.realpath(p) for p in {*sys.path, sys.prefix, sys.base_prefix} if p)]
    own = [os.path.realpath(folder), "/dev"]
    single = os.path.realpath(source)

    def within(path: str, folders: list[str]) -> bool:
        return any(path.startswith(f.rstrip(os.sep) + os.sep) for f in folders)

    def hook(event: str, values: tuple[Any, ...]) -> None:
        if event in _FORBIDDEN:
            raise PermissionError(f"asks for {event}, which no micrograph needs")
        if event == "open" and not isinstance(values[0], int):
            path = os.path.realpath(os.fsdecode(values[0]))
            if within(path, own):
                return
            if (values[2] or 0) & _WRITING:
                raise PermissionError(f"asks to write to {path[:100]}")
            if path != single and not within(path, libraries):
                raise PermissionError(f"asks for another file, {path[:100]}, which is not followed")

    return hook


def answer(path: Path, frames: picks.Frames, folder: Path) -> dict[str, Any]:
    """Return what is in a file, as JSON; its images lie in the folder.

    Whatever goes wrong with the file becomes one line under `refusal`, without the file's name.

    Raises:
        OSError: if there is no room for the images.
    """
    made: list[dict[str, Any]] = []
    try:
        with warnings.catch_warnings(), ExitStack() as closing:
            warnings.simplefilter("ignore")
            for picture in picks.pictures(formats.datasets(path, closing), frames, path.name):
                name = f"{len(made)}.npy"
                np.save(folder / name, picture.intensity, allow_pickle=False)
                made.append(
                    {
                        "file": name,
                        "shape": picture.intensity.shape,
                        "pixel_size_angstrom": picture.pixel_size_angstrom,
                        "calibration": picture.calibration,
                        "energy_ev": picture.energy_ev,
                        "dose_per_angstrom2": picture.dose_per_angstrom2,
                        "number": picture.number,
                        "said": picture.said,
                    }
                )
    except BadInputError as error:
        return {"refusal": str(error)}
    except RecursionError:
        return {"refusal": "nests its contents too deeply to be a micrograph; export it again"}
    except ImportError as error:
        return {"refusal": f"needs a library that is missing here ({error}); install passband again"}
    except MemoryError:
        return {"refusal": _TOO_MUCH}
    except Exception as error:  # A reader raises what it likes on a damaged file.
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise
        text = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        text = " ".join(text.split())
        if "memory" in text.lower():
            return {"refusal": _TOO_MUCH}
        return {"refusal": f"cannot be read: {text[:150] or type(error).__name__}; copy or export it again"}
    return {"images": made}


def main() -> int:
    """Read the file that the arguments name: path, folder, frames, bytes of memory, seconds."""
    path, folder, frames, memory, seconds = (json.loads(a) for a in sys.argv[1:6])
    limit(memory, seconds)
    sys.modules |= dict.fromkeys(_UNUSED)  # type: ignore[arg-type]
    sys.addaudithook(guard(Path(path), Path(folder)))
    try:
        text = json.dumps(answer(Path(path), frames, Path(folder)), allow_nan=False)
        (Path(folder) / "answer.json").write_text(text, encoding="utf-8")
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            return NO_ROOM
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
