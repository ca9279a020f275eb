"""Start ONNX networks and convert their inputs and outputs. Imports no torch, so that a small process can use it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError
from passband.base.extras import require

#: Version of ONNX's operations; programs of 2023 and later support it.
OPSET = 18
Images = NDArray[np.float32]
# Clip probabilities this close to 0 and 1 to have finite logits.
_SURE = 1e-7
# Rounding error of a probability.
_SLACK = 1e-4


def start(content: bytes, threads: int) -> Any:
    """Return an onnxruntime session of a network, on the CPU.

    Args:
        content: of the ONNX file.
        threads: number of threads.

    Raises:
        BadInputError: if onnxruntime is not installed.
    """
    runtime = require("exchange", "an ONNX network", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = max(threads, 1), 1
    options.log_severity_level = 4
    # The arena doubles the memory and keeps it.
    options.enable_cpu_mem_arena = False
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def to_input(images: Images, normalisation: str) -> Images:
    """Convert normalised images to the input of a network.

    Args:
        images: zero mean and unit variance each, shape [B, 1, h, w].
        normalisation: zero_mean_unit_variance leaves them unchanged; min_max scales each to 0 … 1.
    """
    if normalisation == "zero_mean_unit_variance":
        return images
    low, high = images.min((2, 3), keepdims=True), images.max((2, 3), keepdims=True)
    return (images - low) / np.maximum(high - low, np.float32(1e-6))


def to_logits(values: NDArray[Any], output: str, channel: int) -> Images:
    """Convert the output of a network to logits of particle [B, 1, h, w].

    Args:
        values: shape [B, C, h, w].
        output: logits or probability of each channel, or softmax: scores of exclusive classes, before the softmax.
        channel: of the particles.

    Raises:
        BadInputError: if the values do not have the described form.
    """
    if not np.isfinite(values).all():
        raise BadInputError("returns values that are no numbers; correct the network")
    particle = values[:, channel : channel + 1].astype(np.float32)
    if output == "logits":
        return particle
    if output == "probability":
        low, high = float(particle.min()), float(particle.max())
        if low < -_SLACK or high > 1 + _SLACK:
            raise BadInputError(
                f"returns values of {low:.3g} to {high:.3g}, which are no probabilities; set output: logits, or softmax"
            )
        sure = particle.clip(_SURE, 1 - _SURE)
        return np.log(sure) - np.log1p(-sure)
    others = np.delete(values, channel, axis=1).astype(np.float32)
    most = others.max(1, keepdims=True)
    return particle - most - np.log(np.exp(others - most).sum(1, keepdims=True))
