"""Models for other programs: ONNX, and packages of the bioimage.io model zoo; both are run again and compared before they are left."""

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from passband.base.errors import BadInputError
from passband.base.extras import require
from passband.base.version import __version__
from passband.files.atomic import write_file
from passband.models import onnx_files
from passband.models.card import ModelCard
from passband.models.network import Network
from passband.models.store import Model

#: What an exported network's answers may differ by at most: logits of ONNX, probabilities of a package.
TOLERANCE = 1e-4


def export(model: Model, out: Path) -> dict[str, Any]:
    """Write a model's network for other programs and return what was compared.

    Args:
        model: of one of passband's families.
        out: ends in .onnx, or in .bioimageio.zip.

    Returns:
        file, format, opset, compared_images, and largest_difference from the network as passband runs it.

    Raises:
        BadInputError: if the file exists or cannot be written, the model runs a foreign network, the extra `exchange` is missing, or
            the result differs by more than `TOLERANCE`.
    """
    if out.exists():
        raise BadInputError(f"{out}: exists; choose another name, or delete it first")
    if model.card.runs != "passband":
        raise BadInputError(
            f"{model.card.name}: runs a network from elsewhere, {model.weights}; give that away as it is, or the whole model as {model.card.name}.zip"
        )
    package = out.name.endswith(".bioimageio.zip")
    with quiet():
        needed = ("onnx", "onnxruntime", "onnxscript", *(["bioimageio.core"] if package else []))
        require("exchange", "exporting a model", *needed)
    network = Network(model)
    content = onnx_bytes(network.get_submodule("_module"), model.card)
    largest, images = compare(network, content, model.card)
    facts = {"file": str(out), "opset": onnx_files.OPSET, "compared_images": images, "largest_difference": largest}
    _agree(out, "logits", largest)
    if not package:
        write_file(out, lambda temporary: temporary.write_bytes(content))
        return facts | {"format": "ONNX"}
    from passband.models import bioimageio

    def write(temporary: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="passband-") as folder:
            differs = bioimageio.write(network, model.card, content, Path(folder), temporary)
        _agree(out, "probabilities", differs)
        facts["largest_difference_of_package"] = differs

    with quiet():
        write_file(out, write)
    return facts | {"format": "bioimage.io"}


def _agree(out: Path, what: str, largest: float) -> None:
    # Not a number must fail too.
    if not largest <= TOLERANCE:
        raise BadInputError(
            f"{out}: its {what} would differ from the network's by {largest:.2g}, more than {TOLERANCE:g}; it is not written: export NAME.zip instead"
        )


def onnx_bytes(network: nn.Module, card: ModelCard) -> bytes:
    """Return a network as an ONNX file, with what its user must know among its metadata.

    Its input "image" [B, 1, H, W] has zero mean and unit variance, its output "logits" the same shape; batch, height and width are free,
    the last two multiples of the card's divisor.
    """
    import onnx

    d = card.divisor
    batch, height, width = (torch.export.Dim(name) for name in ("batch", "height", "width"))
    with quiet():
        made = torch.onnx.export(
            network,
            (torch.zeros(2, 1, 2 * d, 3 * d),),
            dynamo=True,
            input_names=["image"],
            output_names=["logits"],
            opset_version=onnx_files.OPSET,
            dynamic_shapes=({0: batch, 2: d * height, 3: d * width},),
            external_data=False,
            verbose=False,
        )
    assert made is not None
    proto = made.model_proto
    # The exporter writes down where on this computer each operation comes from.
    del proto.metadata_props[:], proto.graph.metadata_props[:]
    for part in (
        *proto.graph.node,
        *proto.graph.value_info,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.initializer,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    proto.producer_name, proto.producer_version = "passband", __version__
    proto.doc_string = f"{card.name}: {card.intended_use}"
    onnx.helper.set_model_props(proto, _metadata(card))
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def _metadata(card: ModelCard) -> dict[str, str]:
    """Return what a user of the file must know, as ONNX keeps it: text by name."""
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
    """Return the largest difference between the logits of a network and of its ONNX file, and on how many images.

    Args:
        network: as passband runs it.
        content: of the ONNX file.
        card: whose field and divisor give the shapes: two fields, three images that are not square, and the smallest.
    """
    session = onnx_files.start(content, torch.get_num_threads())
    side, d = card.field_pixels, card.divisor
    generator, largest, images = torch.Generator().manual_seed(0), 0.0, 0
    for shape in ((2, side, side), (3, 2 * d, 3 * d), (1, d, d)):
        image = torch.randn(shape[0], 1, *shape[1:], generator=generator)
        with torch.no_grad():
            wanted = network(image).numpy()
        [found] = session.run(["logits"], {"image": image.numpy()})
        # Of whatever is no number, `max` of numpy makes nan.
        largest = float(np.maximum(largest, np.abs(found - wanted).max()))
        images += len(image)
    return largest, images


@contextmanager
def quiet() -> Iterator[None]:
    """Keep from the terminal what libraries say of themselves and a user can do nothing about."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
