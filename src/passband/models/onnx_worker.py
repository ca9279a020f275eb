"""The process that runs an external ONNX network: limited memory, and no right to start programs, connect or write.

`onnx_process.OnnxProcess` starts it and limits its time. A message is a line of JSON, and before an image its bytes.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, require
from passband.micrographs.sandbox.parse_worker import guard, limit

#: The line that exports a PyTorch network (torch 2.9 or newer) in a form that passband takes.
EXPORT = (
    'torch.onnx.export(network.eval(), (torch.zeros(1, 1, 128, 128),), "network.onnx", dynamo=True, external_data=False, '
    "dynamic_shapes=[{2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}])"
)
#: Version of ONNX's operations; programs of 2023 and later support it.
OPSET = 18
_STANDARD = ("", "ai.onnx")
# Operations that may never end, depending on the image.
_LOOPS = ("Loop", "Scan", "SequenceMap")
# Divisors of the side of an image to try.
_DIVISORS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MOST_DIVISOR = 1024
# Clip probabilities this close to 0 and 1 to have finite logits.
_SURE = 1e-7
# Rounding error of a probability.
_SLACK = 1e-4
# The parent limits the time of each answer [s].
_FOREVER = 10**7
Images = NDArray[np.float32]


def _faults(model: Any) -> Iterator[str]:
    """Yield why an onnx.ModelProto is unsafe or unsupported, and what to do; the first is the one that counts."""
    graph, graphs = model.graph, list(_graphs(model.graph))
    for node in (node for inner in graphs for node in inner.node):
        if node.domain not in _STANDARD:
            yield f"uses the operation {node.domain}.{node.op_type}, which ONNX does not define; export it with ONNX's own operations only"
        if node.op_type in _LOOPS:
            yield f"contains a {node.op_type}, which may never end; export it without loops"
    if model.functions or model.training_info:
        yield "contains functions of its own or training steps; write it again with onnx.inliner.inline_local_functions"
    if any(t.data_location == 1 or t.external_data for inner in graphs for t in _tensors(inner)):
        yield f"keeps its weights in another file; write one file: {EXPORT}"
    given = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in given]
    for what, values in (("input", inputs), ("output", graph.output)):
        if len(values) != 1:
            yield f"has {len(values)} {what}s; export it with one, the {what} that counts"
        if values[0].type.tensor_type.elem_type != 1:
            yield f"its {what} is no single-precision number (float32); export it in single precision"
    sides = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(sides) != 4 or sides[0] not in (0, 1) or sides[1] not in (0, 1):
        shown = " × ".join(str(side or "?") for side in sides) or "images of unknown shape"
        yield f"takes {shown}, where images are 1 × 1 × height × width; export it for one channel, and for one image or any number of them"


def _graphs(graph: Any) -> Iterator[Any]:
    """Yield a graph and the graphs inside it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the tensors of a graph and of its nodes."""
    yield from graph.initializer
    sparse = [*graph.sparse_initializer]
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        yield from (attribute.t, *attribute.tensors)
        sparse += [attribute.sparse_tensor, *attribute.sparse_tensors]
    for pair in sparse:
        yield from (pair.values, pair.indices)


def start(content: bytes, threads: int) -> Any:
    """Return an onnxruntime session of the content of an ONNX file, on the CPU."""
    runtime = require("exchange", "an ONNX network", "onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = max(threads, 1), 1
    options.log_severity_level = 4
    # The arena doubles the memory and keeps it.
    options.enable_cpu_mem_arena = False
    return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def to_input(images: Images, normalisation: str) -> Images:
    """Convert images of zero mean and unit variance, [B, 1, h, w], to the input of a network; min_max scales each to 0 … 1."""
    if normalisation == "zero_mean_unit_variance":
        return images
    low, high = images.min((2, 3), keepdims=True), images.max((2, 3), keepdims=True)
    return (images - low) / np.maximum(high - low, np.float32(1e-6))


def to_logits(values: NDArray[Any], output: str, channel: int) -> Images:
    """Convert the output [B, C, h, w] of a network to logits of particle [B, 1, h, w]; BadInputError if `card.External` does not fit it."""
    if not np.isfinite(values).all():
        raise BadInputError("returns values that are no numbers; correct the network")
    particle = values[:, channel : channel + 1].astype(np.float32)
    if output == "logits":
        return particle
    if output == "probability":
        low, high = float(particle.min()), float(particle.max())
        if low < -_SLACK or high > 1 + _SLACK:
            what = f"returns values of {low:.3g} to {high:.3g}, which are no probabilities"
            raise BadInputError(what, remedy="set output: logits, or softmax")
        sure = particle.clip(_SURE, 1 - _SURE)
        return np.log(sure) - np.log1p(-sure)
    others = np.delete(values, channel, axis=1).astype(np.float32)
    most = others.max(1, keepdims=True)
    return particle - most - np.log(np.exp(others - most).sum(1, keepdims=True))


def run(session: Any, image: Images, external: dict[str, Any]) -> NDArray[Any]:
    """Return the output [1, C, h, w] of a network for a normalised image [1, 1, h, w]; BadInputError if it fails."""
    h, w = image.shape[2:]
    try:
        values = session.run(None, {session.get_inputs()[0].name: to_input(image, external["normalisation"])})[0]
    except Exception as error:  # onnxruntime raises its own classes.
        if isinstance(error, MemoryError) or "alloc" in str(error):
            raise MemoryError from None
        what = f"does not run on an image of {h} × {w} pixels: {' '.join(str(error).split())[:200]}"
        remedy = f"correct field_pixels, or export it with free height and width: {EXPORT}"
        raise BadInputError(what, remedy=remedy) from None
    if values.ndim != 4 or values.shape[0] != 1 or values.shape[2:] != (h, w):
        what = f"returns {' × '.join(map(str, values.shape))} for 1 × 1 × {h} × {w}"
        raise BadInputError(what, remedy="the output must have the height and width of the input")
    return np.asarray(values)


def check(session: Any, shape: tuple[int, int], external: dict[str, Any]) -> None:
    """Run a network twice on an image of a shape; BadInputError if it is not as described."""
    image = np.random.default_rng(0).standard_normal((1, 1, *shape), dtype=np.float32)
    values, again = (run(session, image, external) for _ in range(2))
    channels = int(values.shape[1])
    if channels > 1 and external["channel"] is None:
        remedy = f"say which is that of the particles: channel: 0 to {channels - 1}"
        raise BadInputError(f"returns {channels} channels", remedy=remedy)
    channel = external["channel"] or 0
    if channel >= channels or (external["output"] == "softmax" and channels < 2):
        fit = f"output: {external['output']}, channel: {channel}"
        raise BadInputError(f"returns {channels} channels, which does not fit {fit}")
    to_logits(values, external["output"], channel)
    if not np.allclose(values, again, atol=1e-4, rtol=1e-4):
        raise BadInputError("returns another result when run again; export it in evaluation mode: network.eval()")


def sizes(session: Any, side: int, external: dict[str, Any], divisor: int | None) -> tuple[int, bool]:
    """Return the divisor of an image's side, by trial unless given, and whether only this side runs; BadInputError if the given one is wrong."""

    def runs(height: int, width: int) -> bool:
        try:
            check(session, (height, width), external)
        except BadInputError:
            return False
        return True

    if divisor is not None:
        free = runs(side, side + divisor)
        if not free and divisor != side:
            check(session, (side, side + divisor), external)
        return divisor, not free
    for candidate in _DIVISORS:
        if side % candidate:
            break
        # The largest odd multiple of it: a multiple of nothing larger among the candidates.
        tried = candidate * (side // candidate - (side // candidate + 1) % 2)
        if runs(tried, tried) if tried != side else runs(side, side + candidate):
            return candidate, False
    return max(d for d in range(1, _MOST_DIVISOR + 1) if side % d == 0), not runs(side, 2 * side)


def load(path: Path, threads: int) -> tuple[Any, str]:
    """Return the session of a network, and the SHA-256 of its file; BadInputError if it is refused."""
    import onnx

    content = path.read_bytes()
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception:  # The parser raises its own classes.
        raise BadInputError("is no ONNX file; export it again") from None
    for fault in _faults(model):
        raise BadInputError(fault)
    try:
        onnx.checker.check_model(model)
        del model
        session = start(content, threads)
    except MemoryError:
        raise
    except Exception as error:  # From onnx or onnxruntime.
        raise BadInputError(f"cannot be loaded: {' '.join(str(error).split())[:200]}; export it again") from None
    return session, hashlib.sha256(content).hexdigest()


def answer(session: Any, request: dict[str, Any], pixels: bytes, external: dict[str, Any]) -> tuple[Any, bytes]:
    """Return the answer to a request, header and content: the trial of a network, or the logits of an image."""
    h, w = request["shape"]
    if "divisor" in request:
        check(session, (h, w), external)
        divisor, fixed = sizes(session, h, external, request["divisor"])
        return {"divisor": divisor, "fixed": fixed}, b""
    image = np.frombuffer(pixels, np.float32).reshape(1, 1, h, w)
    return {}, to_logits(run(session, image, external), external["output"], external["channel"] or 0).tobytes()


def main() -> int:
    """Run the network that the arguments name: path, input and output, threads, bytes of memory. Requests come on stdin."""
    path, (external, threads, memory) = Path(sys.argv[1]), map(json.loads, sys.argv[2:5])
    # Libraries that print must not write between the answers.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def reply(header: dict[str, Any], content: bytes = b"") -> None:
        out.write(json.dumps(header).encode() + b"\n" + content)
        out.flush()

    limit(memory, _FOREVER)
    # Before the guard: importing them reads files.
    require("exchange", "an ONNX network", "onnx", "onnxruntime")
    sys.addaudithook(guard(path, Path(os.devnull)))
    shape = "any size"
    try:
        session, digest = load(path, threads)
        reply({"digest": digest})
        while header := sys.stdin.buffer.readline():
            request = json.loads(header)
            shape = "{} × {} pixels".format(*request["shape"])
            reply(*answer(session, request, sys.stdin.buffer.read(request["bytes"]), external))
    except BadInputError as error:
        reply({"refusal": str(error)})
    except MemoryError:
        refusal = f"takes more memory than {memory / 1e9:.1f} GB for one image of {shape}; make it smaller, or give fewer field_pixels"
        reply({"refusal": refusal})
    return 0


if __name__ == "__main__":
    sys.exit(main())
