"""Foreign ONNX networks are tried in a process of their own, which may take only so much memory and time, before any other loads them."""

import functools
import json
import signal
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from passband.base.errors import BadInputError
from passband.base.extras import require
from passband.micrographs.sandbox.limited import run_limited
from passband.micrographs.sandbox.parsing import Limits
from passband.models import external_worker

#: Largest ONNX file [bytes].
MOST_BYTES = 500_000_000
_BROKEN = "makes onnxruntime break off; it is damaged: export it again"


@dataclass(frozen=True)
class Way:
    """How a network is asked, and how its answer is read; see `card.Foreign`. A channel of None is not known yet."""

    normalisation: str
    output: str
    channel: int | None


@dataclass(frozen=True)
class Agreed:
    """What is known of a network that runs.

    Attributes:
        digest: SHA-256 of the file that was tried.
        channels: of its output.
        opset: version of ONNX's operations that it uses.
        divisor: what the side of an image must be a multiple of; None if it was not asked for.
    """

    digest: str
    channels: int
    opset: int
    divisor: int | None


@functools.lru_cache(maxsize=64)
def tried_once(path: Path, digest: str, shape: tuple[int, int], way: Way) -> None:
    """Try a network, once in this process for each file, shape of the images and way.

    Raises:
        BadInputError: as `tried`; also if the file is not the one of this SHA-256.
    """
    if tried(path, shape, way).digest != digest:
        raise BadInputError(f"{path}: has changed while it was read; get the model again")


def tried(
    path: Path, shape: tuple[int, int], way: Way, *, find_divisor: bool = False, limits: Limits | None = None
) -> Agreed:
    """Run a network on one image in a process of its own and return what is known of it then.

    Args:
        path: of the ONNX file.
        shape: of the image.
        way: how to ask it and read its answer.
        find_divisor: whether to find out what the side of an image must be a multiple of.
        limits: what it may take; None for the default.

    Raises:
        BadInputError: naming file, fault and remedy.
    """
    require("exchange", "an ONNX network", "onnx", "onnxruntime")
    limits = limits or Limits()
    request = {"path": str(path.resolve()), "shape": shape, "find_divisor": find_divisor, "foreign": asdict(way)}
    try:
        _check(path)
        with tempfile.TemporaryDirectory(prefix="passband-") as folder:
            asked = json.dumps(request | asdict(limits))
            status = run_limited(external_worker.__name__, [folder, asked], Path(folder), limits.seconds)
            found = _collect(Path(folder), status, limits)
        if found.get("refusal"):
            raise BadInputError(_plain(found["refusal"]))
        try:
            return Agreed(**found)
        except TypeError:
            raise BadInputError(_BROKEN) from None
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def _check(path: Path) -> None:
    try:
        size = path.stat().st_size if path.is_file() else -1
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror}; correct the path") from None
    if size < 0:
        raise BadInputError("is no file; give the path of an ONNX network")
    if size > MOST_BYTES:
        raise BadInputError(
            f"has {size / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB are run: give a smaller network"
        )


def _collect(folder: Path, status: int, limits: Limits) -> dict[str, Any]:
    """Return what a worker left."""
    if status == -signal.SIGXCPU:
        raise BadInputError(
            f"takes more than {limits.seconds} s for one image; give a smaller network, or fewer field_pixels"
        )
    if status == -signal.SIGKILL:
        raise BadInputError(
            "takes more memory than this computer has free; close other programs, or give a smaller network"
        )
    file = folder / "answer.json"
    if status != 0 or not file.is_file() or file.stat().st_size > 100_000:
        raise BadInputError(_BROKEN)
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInputError(_BROKEN) from None
    return found


def _plain(text: str) -> str:
    """Return a text from a file without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:500])
