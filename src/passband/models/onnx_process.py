"""External ONNX networks, each run in a process of its own with limited memory and time."""

import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import torch

from passband.base.errors import BadInputError, require
from passband.micrographs.sandbox.parsing import Limits
from passband.models import onnx_worker
from passband.models.card import External, plain

#: Largest ONNX file [bytes].
MOST_BYTES = 500_000_000
_LONGEST_LINE = 100_000
_BROKEN = (
    "makes onnxruntime break off; it is damaged, or takes more memory than this computer has free: export it again"
)


class OnnxProcess:
    """An external network, run one image at a time in a process that ends with this object, or with the program."""

    def __init__(self, path: Path, external: External, limits: Limits | None = None):
        """Load an ONNX file; the limits are on its memory, and on the time of each image. BadInputError names file, fault and remedy."""
        require("exchange", "an ONNX network", "onnx", "onnxruntime")
        self.path, self._limits = path, limits or Limits()
        if not path.is_file():
            raise BadInputError("is no file; give the path of an ONNX network", place=path)
        if (size := path.stat().st_size) > MOST_BYTES:
            what = f"has {size / 1e6:.0f} MB; at most {MOST_BYTES / 1e6:.0f} MB are run: give a smaller network"
            raise BadInputError(what, place=path)
        arguments = [external.model_dump(), torch.get_num_threads(), self._limits.memory_bytes]
        # -P: import no module from the current folder. Pipes leave no file behind, however either process ends.
        self._process = subprocess.Popen(  # noqa: S603 our own module, by this Python
            [sys.executable, "-P", "-W", "ignore", "-m", onnx_worker.__name__, str(path.resolve())]
            + [json.dumps(a) for a in arguments],
            cwd=os.sep,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.close = weakref.finalize(self, _end, self._process)
        #: SHA-256 of the file.
        self.digest = str(self._answer(b"", 0)[0]["digest"])

    def try_sizes(self, side: int, divisor: int | None) -> tuple[int, bool]:
        """Return the divisor of an image's side, found by trial unless given, and whether the network runs on images of this side only."""
        header, _ = self._answer(_line({"shape": [side, side], "divisor": divisor, "bytes": 0}), 0)
        return int(header["divisor"]), bool(header["fixed"])

    def __call__(self, images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return logits of normalised images, both float32 [B, 1, h, w]; BadInputError if the network fails or exceeds its limits."""
        logits = np.empty(images.shape, dtype=np.float32)
        for image, result in zip(images.astype(np.float32), logits, strict=True):
            request = _line({"shape": image.shape[-2:], "bytes": image.nbytes})
            _, content = self._answer(request + image.tobytes(), image.nbytes)
            result[:] = np.frombuffer(content, np.float32).reshape(image.shape)
        return logits

    def _answer(self, request: bytes, size: int) -> tuple[dict[str, Any], bytes]:
        """Return the header of the process's answer, and `size` bytes after it."""
        late = threading.Timer(2 * self._limits.seconds, self._process.kill)
        late.start()
        try:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(request)
            self._process.stdin.flush()
            header = json.loads(self._process.stdout.readline(_LONGEST_LINE))
            content = self._process.stdout.read(size) if "refusal" not in header else b""
        except (OSError, ValueError):
            header, content = None, b""
        finally:
            in_time = late.is_alive()
            late.cancel()
        if header is not None and "refusal" in header:
            raise BadInputError(plain(header["refusal"], 1000), place=self.path)
        if not in_time:
            what = (
                f"takes more than {self._limits.seconds} s for one image; give a smaller network, or fewer field_pixels"
            )
            raise BadInputError(what, place=self.path)
        if header is None or len(content) != size:
            raise BadInputError(_BROKEN, place=self.path)
        return header, content


def _line(request: dict[str, Any]) -> bytes:
    return json.dumps(request).encode() + b"\n"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()
