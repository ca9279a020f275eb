"""Export models to ONNX and to packages of the bioimage.io model zoo; the result is run and compared before it is written."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from passband.base.errors import BadInputError, require
from passband.base.version import __version__
from passband.files.atomic import write_file
from passband.models.card import ModelCard
from passband.models.network import Network
from passband.models.onnx_worker import OPSET, start
from passband.models.store import Model, refuse_existing, work_folder

#: Largest difference of an exported network's output: logits of ONNX, probabilities of a package.
TOLERANCE = 1e-4


def export(model: Model, out: str | Path) -> dict[str, Any]:
    """Export the network of a model to a file that ends in .onnx or .bioimageio.zip.

    Returns:
        file, format, opset, compared_images, and largest_difference from the network as passband runs it.

    Raises:
        BadInputError: if the file exists or cannot be written, the network is external, the extra `exchange` is missing, or the result
            differs by more than `TOLERANCE`.
    """
    out, card = Path(out), model.card
    refuse_existing(out)
    if card.runs != "passband":
        raise BadInputError(
            f"{card.name}: has an external network, {model.weights}; share that file, or the whole model as {card.name}.zip"
        )
    packaged = out.name.endswith(".bioimageio.zip")
    with quiet():
        needed = ("onnx", "onnxruntime", "onnxscript", *(["bioimageio.core"] if packaged else []))
        require("exchange", "exporting a model", *needed)
    network = Network(model)
    content = onnx_bytes(network.get_submodule("_module"), card)
    largest, images = compare(network, content, card)
    _agree(out, "logits", largest)
    facts = {"file": str(out), "opset": OPSET, "compared_images": images, "largest_difference": largest}
    if not packaged:
        write_file(out, lambda temporary: temporary.write_bytes(content))
        return facts | {"format": "ONNX"}
    from passband.models import bioimageio

    with quiet(), work_folder(out) as folder:
        package = folder / out.name
        differs = bioimageio.write(network, card, content, folder, package)
        _agree(out, "probabilities", differs)
        package.replace(out)
    return facts | {"largest_difference_of_package": differs, "format": "bioimage.io"}


def _agree(out: Path, what: str, largest: float) -> None:
    # NaN must fail too.
    if not largest <= TOLERANCE:
        what = (
            f"its {what} would differ from the network's by {largest:.2g}, more than {TOLERANCE:g}; it is not written"
        )
        raise BadInputError(what, remedy="export NAME.zip instead", place=out)


def onnx_bytes(network: nn.Module, card: ModelCard) -> bytes:
    """Convert a network to an ONNX file with metadata for its users, and with free batch, height and width."""
    import onnx

    d = card.divisor
    batch, height, width = torch.export.dims("batch", "height", "width")
    with quiet():
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 1, 2 * d, 3 * d),),
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamic_shapes=({0: batch, 2: d * height, 3: d * width},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    # Remove the paths of this computer that the exporter writes.
    del proto.metadata_props[:], proto.graph.metadata_props[:]
    graph = proto.graph
    for part in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    proto.producer_name, proto.producer_version = "passband", __version__
    proto.doc_string = f"{card.name}: {card.intended_use}"
    onnx.helper.set_model_props(proto, _metadata(card))
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def _metadata(card: ModelCard) -> dict[str, str]:
    return {
        "name": card.name,
        "licence": card.licence,
        "intended_use": card.intended_use,
        "pixel_size_angstrom": f"{card.pixel_size_angstrom:.10g}",
        "field_pixels": str(card.field_pixels),
        "divisor": str(card.divisor),
        "threshold": f"{card.threshold:.10g}",
        "input": "image [B, 1, H, W], float32, zero mean and unit variance each; H and W multiples of the divisor",
        "output": "logits [B, 1, H, W], float32; a pixel is particle where 1 / (1 + exp(-logit)) reaches the threshold",
        "specimens": json.dumps(card.specimens.model_dump(mode="json", exclude={"recipe"}), ensure_ascii=False),
        "made_by": json.dumps(card.made_by, ensure_ascii=False),
    }


def compare(network: nn.Module, content: bytes, card: ModelCard) -> tuple[float, int]:
    """Return the largest difference between the logits of a network and of its ONNX file, and the number of images compared.

    The images are two fields, three that are not square, and the smallest.
    """
    session = start(content, torch.get_num_threads())
    side, d = card.field_pixels, card.divisor
    generator, largest, images = torch.Generator().manual_seed(0), 0.0, 0
    for shape in ((2, side, side), (3, 2 * d, 3 * d), (1, d, d)):
        image = torch.randn(shape[0], 1, *shape[1:], generator=generator)
        with torch.no_grad():
            wanted = network(image).numpy()
        [logits] = session.run(["logits"], {"image": image.numpy()})
        # numpy's maximum propagates NaN.
        largest = float(np.maximum(largest, np.abs(logits - wanted).max()))
        images += len(image)
    return largest, images


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress log messages and warnings of libraries."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.disable(before)
