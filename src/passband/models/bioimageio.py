"""Write packages of the bioimage.io model zoo (bioimageio.spec, format 0.5) with an ONNX network."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from passband.base.errors import BadInputError
from passband.models.card import ModelCard
from passband.models.onnx_worker import OPSET
from passband.simulation.imaging import normalize

# The publication of the method, as in CITATION.cff.
_CITED = "Contrast transfer functions help quantify neural network out-of-distribution generalization in HRTEM"
_DOI = "10.48550/arXiv.2512.09067"
_LONGEST = 1024


def write(network: nn.Module, card: ModelCard, onnx: bytes, folder: Path, out: Path) -> float:
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
            save_bioimageio_package(describe(card), output_path=out)
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


def describe(card: ModelCard) -> Any:
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
    from pydantic import ValidationError

    try:
        return LicenseId(text)
    except ValidationError:
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
