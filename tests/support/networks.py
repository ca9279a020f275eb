"""Tiny networks: one of passband's, and ONNX ones written operation by operation."""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import save

from passband.learning import NetworkConfig, build
from passband.models.card import ModelCard, Specimens
from passband.models.store import WEIGHTS, write_model

SIDE, PIXEL = 32, 0.8
DESCRIPTION = f"""
name: theirs
licence: MIT
pixel_size_angstrom: {PIXEL}
field_pixels: {SIDE}
specimens: {{elements: [Au], support: carbon}}
"""


def tiny_model(folder, name="tiny", licence="GPL-3.0-or-later", seed=0):
    """A model with random weights and batch statistics that a training could have left."""
    torch.manual_seed(seed)
    config = NetworkConfig(widths=(4, 8), stem=2)
    network = build(config, seed=seed).train()
    with torch.no_grad():
        for _ in range(4):
            network(torch.randn(4, 1, SIDE, SIDE) * 2 + 0.3)
    card = ModelCard(
        name=name,
        intended_use="Particles of gold.",
        limits=("It has learnt nothing.",),
        licence=licence,
        made_by={"study": "none"},
        network=config,
        pixel_size_angstrom=PIXEL,
        pixel_band_angstrom=(0.05, 0.9),
        field_pixels=SIDE,
        divisor=config.divisor,
        q_max_per_angstrom=0.6,
        specimens=Specimens(elements=("Au",), support="carbon"),
    )
    return write_model(
        folder / name, card, {WEIGHTS: save({k: v.contiguous() for k, v in network.state_dict().items()})}
    )


def image(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kernel(channels=1):
    return np.random.default_rng(3).standard_normal((channels, 1, 3, 3)).astype(np.float32)


def write_onnx(
    path,
    nodes,
    *,
    tensors=None,
    shape=("b", 1, "h", "w"),
    out=("b", "c", "h", "w"),
    kind=TensorProto.FLOAT,
    inputs=("x",),
    opset=(("", 18),),
):
    """A network from its operations, which take `x` and make `y`."""
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info(name, kind, shape) for name in inputs],
        [helper.make_tensor_value_info("y", kind, out)],
        [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (tensors or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid(*entry) for entry in opset], ir_version=9)
    path.write_bytes(made.SerializeToString())
    return path


def convolution(path, channels=1, last=(), **options):
    """A 3 × 3 convolution, and operations on its result `v`, of which the last makes `y`."""
    first = helper.make_node("Conv", ["x", "k"], ["v" if last else "y"], pads=[1, 1, 1, 1])
    return write_onnx(path, [first, *last], tensors={"k": kernel(channels)}, **options)
