"""A package of the bioimage.io model zoo (bioimageio.spec, format 0.5) with a network as ONNX."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from passband.base.errors import BadInputError
from passband.models.card import ModelCard
from passband.simulation.imaging import normalize

# The study whose method passband implements, as in CITATION.cff.
_CITED = "Contrast transfer functions help quantify neural network out-of-distribution generalization in HRTEM"
_DOI = "10.48550/arXiv.2512.09067"
_LONGEST = 1024


def write(network: nn.Module, card: ModelCard, onnx: bytes, folder: Path, out: Path) -> float:
    """Write a package, run it by bioimageio.core, and return the largest difference of its probabilities.

    Args:
        network: as passband runs it.
        card: of the model.
        onnx: the network as ONNX.
        folder: an empty one, for the files of the package.
        out: where the package goes.

    Raises:
        BadInputError: if bioimageio.spec refuses it.
    """
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
            return _differs(load_model_description(package), image, wanted)
    except (ValueError, TypeError) as error:
        raise BadInputError(
            f"{card.name}: bioimageio.spec refuses the package ({' '.join(str(error).split())[:200]}); bring it to a version that is known to work: "
            "pip install 'passband[exchange]'"
        ) from None
    finally:
        logger.enable("bioimageio")


def _example(network: nn.Module, card: ModelCard) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of counts and the probabilities that the network gives it, both float32 [1, 1, n, n]."""
    side = card.field_pixels
    rate = 100 + 20 * torch.randn(1, 1, side, side, generator=torch.Generator().manual_seed(1)).cumsum(-1) / side**0.5
    counts = torch.poisson(rate.clamp_min(1.0), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        return counts.numpy(), network(normalize(counts)).sigmoid().numpy()


def describe(card: ModelCard) -> Any:
    """Return the description of a model whose files lie in the root of the current validation context."""
    from bioimageio.spec.model import v0_5 as spec

    def tensor(name: str) -> Any:
        return spec.FileDescr(source=Path(f"{name}.npy"))

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
        test_tensor=tensor("image"),
        preprocessing=[
            spec.ZeroMeanUnitVarianceDescr(
                kwargs=spec.ZeroMeanUnitVarianceKwargs(axes=[spec.AxisId("y"), spec.AxisId("x")])
            )
        ],
    )
    same = {axis: spec.SizeReference(tensor_id=spec.TensorId("image"), axis_id=spec.AxisId(axis)) for axis in "yx"}
    probability = spec.OutputTensorDescr(
        id=spec.TensorId("probability"),
        description=f"that a pixel is particle; from {card.threshold:g} on it is taken for one",
        axes=[
            spec.BatchAxis(),
            spec.ChannelAxis(channel_names=[spec.Identifier("particle")]),
            *(spec.SpaceOutputAxis(id=spec.AxisId(axis), size=same[axis], **pixel) for axis in "yx"),
        ],
        data=spec.IntervalOrRatioDataDescr(type="float32", range=(0.0, 1.0)),
        test_tensor=tensor("probability"),
        postprocessing=[spec.SigmoidDescr()],
    )
    from passband.models.onnx_files import OPSET

    return spec.ModelDescr(
        # Points are not allowed there, and at least five letters are asked for.
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
    """Return an SPDX identifier, or the file that says what is none."""
    from bioimageio.spec.model.v0_5 import FileDescr, LicenseId
    from pydantic import ValidationError

    try:
        return LicenseId(text)
    except ValidationError:
        return FileDescr(source=Path("LICENCE.txt"))


def documentation(card: ModelCard) -> str:
    """Return a card in words, as Markdown."""
    known = card.specimens
    low, high = card.pixel_band_angstrom
    thickness = "" if known.thickness_angstrom is None else " of {:.3g} to {:.3g} Å".format(*known.thickness_angstrom)
    size = "" if known.diameter_angstrom is None else ", {:.3g} to {:.3g} Å across".format(*known.diameter_angstrom)
    made = "".join(f"- {name}: {value}\n" for name, value in card.made_by.items())
    own = (
        ""
        if card.own_loss is None
        else f" Its median loss (cross-entropy + Dice) under its own conditions is {card.own_loss:.3f}."
    )
    return f"""# {card.name}

{card.intended_use}

Specimens: particles of {", ".join(known.elements)}{size}, on {known.support or "nothing"}{thickness}.

Pixels: the network works at {card.pixel_size_angstrom:g} Å; images of {low:g} to {high:g} Å are to be resampled to that. It was trained on
images of {card.field_pixels} pixels a side; show it tiles of that size, each side a multiple of {card.divisor}.

Its output is the probability that a pixel is particle; from {card.threshold:g} on, take it for one.

## Limits

{"".join(f"- {limit}" + chr(10) for limit in card.limits) or "None are written down." + chr(10)}
## Validation

Tested on simulated specimens that it was not trained on, under known imaging conditions.{own} Whether it holds under other conditions,
`passband check {card.name} --condition FILE` says; on images of your own, compare masks with some drawn by hand.

## Made by

{made}
Licence: {card.licence}
"""


def _differs(description: Any, image: np.ndarray, wanted: np.ndarray) -> float:
    """Return the largest difference of what bioimageio.core makes of an image."""
    from bioimageio.core import predict

    found = predict(model=description, inputs={"image": image})
    [probability] = found.members.values()
    return float(np.abs(probability.data.transpose("batch", "channel", "y", "x").values - wanted).max())
