"""Run external ONNX networks: each is first tried in a process of its own with limited memory and time."""

import functools
import hashlib
import json
import signal
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from passband.base.errors import BadInputError
from passband.base.extras import require
from passband.micrographs.sandbox.limited import run_limited
from passband.micrographs.sandbox.parsing import Limits
from passband.models import external_worker, onnx_io
from passband.models.card import External, ModelCard

#: Largest ONNX file [bytes].
MOST_BYTES = 500_000_000
_BROKEN = "makes onnxruntime break off; it is damaged: export it again"


@dataclass(frozen=True)
class Trial:
    """Properties of a network that ran.

    Attributes:
        digest: SHA-256 of the file.
        channels: of its output.
        opset: version of ONNX's operations.
        divisor: of the side of an image; None if it was not determined.
    """

    digest: str
    channels: int
    opset: int
    divisor: int | None


def open_session(path: Path, card: ModelCard) -> Callable[[np.ndarray], np.ndarray]:
    """Load the ONNX network of a model: normalised images [B, 1, h, w], float32, to logits of the same shape.

    A limited process runs the network on an image of each shape before this process does. Images are run one by one: memory stays as
    in the trial, and images cannot affect each other.

    Args:
        path: of the network.
        card: of its model.

    Raises:
        BadInputError: if the file is not that of the card, is refused or fails, or onnxruntime is not installed.
    """
    external, digest = card.external or External(), card.files[path.name]
    try_once(path, digest, (card.field_pixels, card.field_pixels), external)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise BadInputError("has changed while it was read; get the model again", place=path)
    session = onnx_io.start(content, torch.get_num_threads())
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        try_once(path, digest, (images.shape[2], images.shape[3]), external)
        ready = onnx_io.to_input(np.ascontiguousarray(images, dtype=np.float32), external.normalisation)
        try:
            outputs = [session.run(None, {name: image[None]})[0] for image in ready]
            return np.concatenate([onnx_io.to_logits(o, external.output, external.channel or 0) for o in outputs])
        except Exception as error:  # onnxruntime raises its own classes.
            raise BadInputError(f"fails on an image: {' '.join(str(error).split())[:200]}", place=path) from None

    return run


@functools.lru_cache(maxsize=64)
def try_once(path: Path, digest: str, shape: tuple[int, int], external: External) -> None:
    """Try a network, once in this process for each file, image shape and interface.

    Raises:
        BadInputError: as `try_network`; also if the file is not the one of this SHA-256.
    """
    if try_network(path, shape, external).digest != digest:
        raise BadInputError(f"{path}: has changed while it was read; get the model again")


def try_network(
    path: Path, shape: tuple[int, int], external: External, *, find_divisor: bool = False, limits: Limits | None = None
) -> Trial:
    """Run a network on one image in a process of its own and return its properties.

    Args:
        path: of the ONNX file.
        shape: of the image.
        external: its input and output.
        find_divisor: also determine the divisor of the side of an image.
        limits: on time and memory; None for the default.

    Raises:
        BadInputError: naming file, fault and remedy.
    """
    require("exchange", "an ONNX network", "onnx", "onnxruntime")
    limits = limits or Limits()
    request = {
        "path": str(path.resolve()),
        "shape": shape,
        "find_divisor": find_divisor,
        "external": external.model_dump(),
    }
    try:
        _check(path)
        with tempfile.TemporaryDirectory(prefix="passband-") as folder:
            text = json.dumps(request | asdict(limits))
            status = run_limited(external_worker.__name__, [folder, text], Path(folder), limits.seconds)
            answer = _collect(Path(folder), status, limits)
        if answer.get("refusal"):
            raise BadInputError(_plain(answer["refusal"]))
        try:
            return Trial(**answer)
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
    """Return the answer of a worker."""
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
        answer: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInputError(_BROKEN) from None
    return answer


def _plain(text: str) -> str:
    """Return a text from a file without control characters."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:500])
