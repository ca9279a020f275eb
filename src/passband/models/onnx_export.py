"""Export models to ONNX and to packages of the bioimage.io model zoo; the result is run and compared before it is written."""

import json
import logging
import warnings
import zipfile
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
from passband.learning import SEGMENTATION
from passband.models.card import ModelCard
from passband.models.network import Network
from passband.models.onnx_worker import OPSET, start
from passband.models.store import Model, refuse_existing, require_task, work_folder
from passband.simulation.imaging import normalize

#: Largest difference of an exported network's output: logits of ONNX, probabilities of a package.
TOLERANCE = 1e-4
# The publication of the method, as in CITATION.cff.
_CITED = "Contrast transfer functions help quantify neural network out-of-distribution generalization in HRTEM"
_DOI = "10.48550/arXiv.2512.09067"
_LONGEST = 1024


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
        what = f"{card.name}: has an external network, {model.weights}; share that file, or the whole model as {card.name}.zip"
        raise BadInputError(what)
    require_task(card, SEGMENTATION.name)
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
    with quiet(), work_folder(out) as folder:
        package = folder / out.name
        differs = _package(network, card, content, folder, package)
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


def _package(network: nn.Module, card: ModelCard, onnx: bytes, folder: Path, out: Path) -> float:
    """Write a package, run it with bioimageio.core, and return the largest difference of its probabilities; BadInputError if refused.

    `onnx` is the network as ONNX, `folder` an empty one for the files of the package.
    """
    from bioimageio.core import predict
    from bioimageio.spec import ValidationContext, load_model_description, save_bioimageio_package
    from loguru import logger

    image, wanted = _example(network, card)
    for name, content in (("image", image), ("probability", wanted)):
        np.save(folder / f"{name}.npy", content)
    (folder / "network.onnx").write_bytes(onnx)
    (folder / "README.md").write_text(documentation(card), encoding="utf-8")
    (folder / "LICENCE.txt").write_text(card.licence + "\n", encoding="utf-8")
    logger.disable("bioimageio")
    try:
        with ValidationContext(root=folder, log_warnings=False, progressbar=False):
            save_bioimageio_package(_description(card), output_path=out)
        with zipfile.ZipFile(out) as package:
            result = predict(model=load_model_description(package), inputs={"image": image})
        [probability] = result.members.values()
        return float(np.abs(probability.data.transpose("batch", "channel", "y", "x").values - wanted).max())
    except (ValueError, TypeError) as error:
        what = f"bioimageio.spec refuses the package ({' '.join(str(error).split())[:200]})"
        remedy = "install a supported version: pip install 'passband[exchange]'"
        raise BadInputError(what, remedy=remedy, place=card.name) from None
    finally:
        logger.enable("bioimageio")


def _example(network: nn.Module, card: ModelCard) -> tuple[np.ndarray, np.ndarray]:
    """Return a test image of counts and its predicted probabilities, both float32 [1, 1, n, n]."""
    side = card.field_pixels
    rate = 100 + 20 * torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(1)).cumsum(-1) / side**0.5
    counts = torch.poisson(rate.clamp_min(1.0), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return counts.numpy(), network(normalize(counts)).sigmoid().numpy()


def _description(card: ModelCard) -> Any:
    """Return the description of a model whose files are in the root of the current validation context."""
    from bioimageio.spec.model import v0_5 as spec

    # The unit's name is the specification's.
    pixel = {"scale": card.pixel_size_angstrom, "unit": "angstrom"}
    free = spec.ParameterizedSize(min=card.divisor, step=card.divisor)
    image = spec.InputTensorDescr(
        id=spec.TensorId("image"),
        description="counts or intensity, at the pixel size of the axes",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=[spec.Identifier("intensity")]),
            *(spec.SpaceInputAxis(id=spec.AxisId(axis), size=free, **pixel) for axis in "yx"),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32"),
        test_tensor=spec.FileDescr(source=Path("image.npy")),
        preprocessing=[
            spec.ZeroMeanUnitVarianceDescr(
                kwargs=spec.ZeroMeanUnitVarianceKwargs(axes=[spec.AxisId("y"), spec.AxisId("x")])
            )
        ],
    )
    same = {axis: spec.SizeReference(tensor_id=spec.TensorId("image"), axis_id=spec.AxisId(axis)) for axis in "yx"}
    probability = spec.OutputTensorDescr(
        id=spec.TensorId("probability"),
        description=f"of particle at each pixel; a pixel is particle from {card.threshold:g}",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=[spec.Identifier("particle")]),
            *(spec.SpaceOutputAxis(id=spec.AxisId(axis), size=same[axis], **pixel) for axis in "yx"),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
        test_tensor=spec.FileDescr(source=Path("probability.npy")),
        postprocessing=[spec.SigmoidDescr()],
    )
    return spec.ModelDescr(
        # No points are allowed, and at least five letters required.
        name=f"{card.name.replace('.', '_')} (passband)",
        description=card.intended_use[:_LONGEST],
        authors=[spec.Author(name=str(card.made_by.get("author", "a user of passband")))],
        cite=[spec.CiteEntry(text=_CITED, doi=spec.Doi(_DOI))],
        license=_licence(card.licence),
        documentation=spec.FileDescr(source=Path("README.md")),
        tags=["electron-microscopy", "hrtem", "nanoparticles", "segmentation", "unet"],
        inputs=[image],
        outputs=[probability],
        weights=spec.WeightsDescr(onnx=spec.OnnxWeightsDescr(source=Path("network.onnx"), opset_version=OPSET)),
    )


def _licence(text: str) -> Any:
    """Return an SPDX identifier, or the file with another licence."""
    from bioimageio.spec.model.v0_5 import FileDescr, LicenseId

    try:
        return LicenseId(text)
    except ValueError:
        return FileDescr(source=Path("LICENCE.txt"))


def documentation(card: ModelCard) -> str:
    """Return a card as Markdown."""
    specimens, (low, high) = card.specimens, card.pixel_band_angstrom

    film, size = specimens.thickness_angstrom, specimens.diameter_angstrom
    thick = "" if film is None else " of {:.3g} to {:.3g} Å".format(*film)
    across = "" if size is None else ", {:.3g} to {:.3g} Å across".format(*size)
    origin = "".join(f"- {name}: {value}\n" for name, value in card.made_by.items())
    limits = "".join(f"- {limit}\n" for limit in card.limits) or "None are stated.\n"
    in_domain = ""
    if card.own_loss:
        in_domain = f" Its median loss (cross-entropy + Dice) under its training conditions is {card.own_loss:.3f}."
    return f"""# {card.name}

{card.intended_use}

Specimens: particles of {", ".join(specimens.elements)}{across}, on {specimens.support or "nothing"}{thick}.

Pixels: the network takes images of {card.pixel_size_angstrom:g} Å; resample images of {low:g} to {high:g} Å to that. It was trained on
images of {card.field_pixels} pixels a side; use tiles of that size, each side a multiple of {card.divisor}.

Its output is the probability of particle at each pixel; a pixel is particle from {card.threshold:g}.

## Limits

{limits}
## Validation

Tested on simulated specimens that were not part of the training, under known imaging conditions.{in_domain} `passband check {card.name}
--condition FILE` predicts whether it works under other conditions; on your images, compare its masks with some drawn by hand.

## Origin

{origin}
Licence: {card.licence}
"""
