"""The process that first opens an external ONNX network: limited memory and time, and no right to start programs, connect or write.

`external_trial.try_network` starts it; it writes an answer as JSON into its own folder.
"""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.base.extras import require
from passband.micrographs.sandbox.parse_worker import guard, limit
from passband.models import onnx_io

_STANDARD = ("", "ai.onnx")
# Operations that may never end, depending on the image.
_LOOPS = ("Loop", "Scan", "SequenceMap")
# Divisors of the side of an image to try.
_DIVISORS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_MOST_DIVISOR = 1024
_TOO_MUCH = (
    "takes more memory than {:.1f} GB for one image of {} × {} pixels; make it smaller, or give fewer field_pixels"
)


def refuse(model: Any) -> None:
    """Refuse an ONNX model with unsafe or unsupported content, before running it.

    Args:
        model: an onnx.ModelProto.

    Raises:
        BadInputError: with fault and remedy.
    """
    graph = model.graph
    for node in _nodes(graph):
        if node.domain not in _STANDARD:
            raise BadInputError(
                f"uses the operation {node.domain}.{node.op_type}, which ONNX does not define; export it with ONNX's own operations only"
            )
        if node.op_type in _LOOPS:
            raise BadInputError(f"holds a {node.op_type}, which may never end; export it without loops")
    if model.functions or model.training_info:
        raise BadInputError(
            "holds functions of its own or training steps; write it again with onnx.inliner.inline_local_functions"
        )
    if any(t.data_location == 1 or t.external_data for t in _tensors(graph)):
        raise BadInputError(
            "keeps its weights in another file; write it again as one: onnx.save(onnx.load(FILE), ONE_FILE)"
        )
    given = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in given]
    _check_one("input", inputs)
    _check_one("output", list(graph.output))
    sides = [d.dim_value for d in inputs[0].type.tensor_type.shape.dim]
    if len(sides) != 4 or sides[0] not in (0, 1) or sides[1] not in (0, 1):
        shown = " × ".join(str(side or "?") for side in sides) or "images of unknown shape"
        raise BadInputError(
            f"takes {shown}, where images are 1 × 1 × height × width; export it for one channel, and for one image or any number of them"
        )


def _check_one(what: str, values: list[Any]) -> None:
    if len(values) != 1:
        raise BadInputError(f"has {len(values)} {what}s; export it with one, the {what} that counts")
    if values[0].type.tensor_type.elem_type != 1:
        raise BadInputError(f"its {what} is no single-precision number (float32); export it in single precision")


def _nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph and of the graphs inside them."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _nodes(inner)


def _tensors(graph: Any) -> Iterator[Any]:
    """Yield the tensors of a graph and of the graphs inside it."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def checked(session: Any, shape: tuple[int, int], external: dict[str, Any]) -> int:
    """Run a network on one image, check its output and return the number of channels.

    Args:
        session: of onnxruntime.
        shape: of the image.
        external: normalisation, output and channel, which may be None.

    Raises:
        BadInputError: if the output does not have the described form.
    """
    image = np.random.default_rng(0).standard_normal((1, 1, *shape), dtype=np.float32)
    inputs = {session.get_inputs()[0].name: onnx_io.to_input(image, external["normalisation"])}
    values, again = (session.run(None, inputs)[0] for _ in range(2))
    if values.ndim != 4 or values.shape[0] != 1 or values.shape[2:] != shape:
        raise BadInputError(
            f"returns {' × '.join(map(str, values.shape))} for 1 × 1 × {shape[0]} × {shape[1]}; the output must have the height and width of the input"
        )
    channels = int(values.shape[1])
    if channels > 1 and external["channel"] is None:
        raise BadInputError(
            f"returns {channels} channels; say which is that of the particles: channel: 0 to {channels - 1}"
        )
    channel = external["channel"] or 0
    if channel >= channels or (external["output"] == "softmax" and channels < 2):
        raise BadInputError(
            f"returns {channels} channels, which does not fit output: {external['output']}, channel: {channel}"
        )
    onnx_io.to_logits(values, external["output"], channel)
    if not np.allclose(values, again, atol=1e-4, rtol=1e-4):
        raise BadInputError("returns another result when run again; export it in evaluation mode: network.eval()")
    return channels


def divisor(session: Any, side: int, external: dict[str, Any]) -> int:
    """Return the divisor of the side of an image, determined by trial."""
    for candidate in _DIVISORS:
        # The largest odd multiple of it: a multiple of nothing larger among the candidates.
        times = side // candidate - (side // candidate + 1) % 2
        if times < 1 or side % candidate:
            break
        try:
            checked(session, (candidate * times, candidate * times), external)
        except Exception as error:  # onnxruntime raises its own classes.
            if _of_memory(error):
                raise
            continue
        return candidate
    return max(d for d in range(1, _MOST_DIVISOR + 1) if side % d == 0)


def _of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "alloc" in str(error)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return digest, divisor, channels and opset of a network that runs, or one line under `refusal`.

    Args:
        request: path, shape, find_divisor, external, and memory_bytes, the limit of this process.
    """
    import onnx

    shape = (int(request["shape"][0]), int(request["shape"][1]))
    try:
        content = Path(request["path"]).read_bytes()
        try:
            model = onnx.ModelProto.FromString(content)
        except Exception:  # The parser raises its own classes.
            raise BadInputError("is no ONNX file; export it again") from None
        refuse(model)
        onnx.checker.check_model(model)
        opset = max(entry.version for entry in model.opset_import if entry.domain in _STANDARD)
        del model
        session = onnx_io.start(content, 1)
        channels = checked(session, shape, request["external"])
        side_divisor = divisor(session, shape[0], request["external"]) if request["find_divisor"] else None
    except BadInputError as error:
        return {"refusal": str(error)}
    except Exception as error:  # From onnx, onnxruntime or the memory limit.
        text = " ".join(str(error).split())
        if _of_memory(error):
            return {"refusal": _TOO_MUCH.format(request["memory_bytes"] / 1e9, *shape)}
        return {
            "refusal": f"does not run on an image of {shape[0]} × {shape[1]} pixels: {text[:200]}; export it again, or correct field_pixels"
        }
    digest = hashlib.sha256(content).hexdigest()
    return {"digest": digest, "divisor": side_divisor, "channels": channels, "opset": opset}


def main() -> int:
    """Try the network of the request that the arguments name: folder of the answer, request."""
    folder, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    limit(request["memory_bytes"], request["seconds"])
    # Before the guard: importing them reads files.
    require("exchange", "an ONNX network", "onnx", "onnxruntime")
    sys.addaudithook(guard(Path(request["path"]), folder))
    (folder / "answer.json").write_text(json.dumps(answer(request)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
