"""ONNX networks: how one is started, what goes into it, and what comes out. Imports no torch, so that a small process can use it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError
from passband.base.extras import require

#: Version of ONNX's operations, which programs of 2023 and later know.
OPSET = 18
Images = NDArray[np.float32]
# Probabilities nearer to 0 and 1 have no finite logit in single precision that says more.
_SURE = 1e-7
# What rounding may do to a probability.
_SLACK = 1e-4


def start(content: bytes, threads: int) -> Any:
    """Return an onnxruntime session of a network, on the CPU.

    Args:
        content: of the ONNX file.
        threads: that it may use.

    Raises:
        BadInputError: if onnxruntime is not installed.
    """
    runtime = require("exchange", "an ONNX network", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = max(threads, 1), 1
    options.log_severity_level = 4
    # It would take twice what is needed, and keep it.
    options.enable_cpu_mem_arena = False
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def to_input(images: Images, normalisation: str) -> Images:
    """Return normalised images as a network wants them.

    Args:
        images: zero mean and unit variance each, shape [B, 1, h, w].
        normalisation: zero_mean_unit_variance leaves them; min_max brings each to 0 … 1.
    """
    if normalisation == "zero_mean_unit_variance":
        return images
    low, high = images.min((2, 3), keepdims=True), images.max((2, 3), keepdims=True)
    return (images - low) / np.maximum(high - low, np.float32(1e-6))


def to_logits(values: NDArray[Any], output: str, channel: int) -> Images:
    """Return logits [B, 1, h, w] of being particle from what a network says.

    Args:
        values: shape [B, C, h, w].
        output: logits or probability of each channel, or softmax: scores of classes that exclude each other, before it.
        channel: that stands for particle.

    Raises:
        BadInputError: if the values are not what the output is said to be.
    """
    if not np.isfinite(values).all():
        raise BadInputError("gives values that are no numbers; correct the network")
    particle = values[:, channel : channel + 1].astype(np.float32)
    if output == "logits":
        return particle
    if output == "probability":
        low, high = float(particle.min()), float(particle.max())
        if low < -_SLACK or high > 1 + _SLACK:
            raise BadInputError(
                f"gives values of {low:.3g} to {high:.3g}, which are no probabilities; say output: logits, or softmax"
            )
        sure = particle.clip(_SURE, 1 - _SURE)
        return np.log(sure) - np.log1p(-sure)
    others = np.delete(values, channel, axis=1).astype(np.float32)
    most = others.max(1, keepdims=True)
    return particle - most - np.log(np.exp(others - most).sum(1, keepdims=True))
