"""Import external networks: ONNX files, or weights of passband's families, with a description in YAML. Nothing is unpickled."""

import hashlib
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field

from passband.base.errors import BadInputError, parameter
from passband.files import yaml_config
from passband.micrographs.sandbox.parsing import Limits
from passband.models import store
from passband.models.card import Band, Described, External, ModelCard, Positive, Text, pixel_band
from passband.models.network import load_weights
from passband.models.onnx_worker import EXPORT
from passband.models.store import Model

_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".ts", ".torchscript", ".pt2")


class Description(Described, External):
    """Description of an external network in YAML, with attributes of `card.Described`, `card.External` and `card.ModelCard`.

    By default the divisor is determined by trial, the pixel band is 0.05 Å to 1.1 times the network's pixels, and q_max their Nyquist
    frequency; the channel is required if there are several.
    """

    intended_use: Text = "Not stated at import."
    pixel_band_angstrom: Band | None = None
    divisor: Annotated[int, Field(ge=1, le=1024)] | None = None
    q_max_per_angstrom: Positive | None = None
    channel: Annotated[int, Field(ge=0, le=1023)] | None = None

    @property
    def external(self) -> External:
        """Input and output; the channel may be unknown."""
        return External(**self.model_dump(include=set(External.model_fields)))

    def card(self, divisor: int, file: Path, content: bytes) -> ModelCard:
        """Return the card of the model, without checksums."""
        pixel = self.pixel_size_angstrom
        defaults = {"pixel_band_angstrom": pixel_band(pixel), "q_max_per_angstrom": 0.5 / pixel}
        described = {k: v for k, v in self if k not in External.model_fields and v is not None}
        return ModelCard(
            **(defaults | described | {"divisor": divisor}),
            made_by={"imported_from": file.name, "sha256": hashlib.sha256(content).hexdigest()},
        )


def import_network(file: str | Path, description: str | Path) -> Model:
    """Install a network, ONNX or safetensors, with its `Description` among the user's models; BadInputError if it is refused."""
    install = import_weights if Path(file).suffix.lower() == ".safetensors" else import_onnx
    return install(Path(file), Path(description))


def import_onnx(file: Path, card_yaml: Path, limits: Limits | None = None) -> Model:
    """Install an ONNX network after runs on images of two sizes in a limited process; BadInputError with the fault of file or description.

    The file has at most 500 MB, one input [1 or any, 1, h, w] and one output [·, C, h, w], float32. `limits` are for one image.
    """
    from passband.models.onnx_process import OnnxProcess

    refuse_pickles(file)
    description = _description(card_yaml)
    if description.network is not None:
        what = f"{card_yaml}: network: describes weights of passband's families, which {file} is not; remove it"
        raise BadInputError(what)
    side = description.field_pixels
    process = OnnxProcess(file, description.external, limits)
    try:
        divisor, fixed = process.try_sizes(side, description.divisor)
    finally:
        process.close()
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != process.digest:
        raise BadInputError(f"{file}: has changed while it was read; try again")
    card = description.card(divisor, file, content)
    changes = {
        "runs": "onnx",
        "external": description.external.model_copy(update={"channel": description.channel or 0}),
    }
    if fixed:
        limit = f"Takes images of {side} × {side} pixels only; for other sizes export it with free height and width: {EXPORT}"
        changes["limits"] = (*card.limits, limit)
    return store.write_model(_place(description.name), card.model_copy(update=changes), {store.ONNX: content})


def import_weights(file: Path, card_yaml: Path) -> Model:
    """Install weights of one of passband's network families (safetensors); BadInputError if they do not fit the described `network`."""
    description = _description(card_yaml)
    if description.network is None:
        what = f"{card_yaml}: does not describe the shape of the network; add network: {{family: unet, widths: […]}}"
        raise BadInputError(what)
    if description.external.model_copy(update={"channel": description.channel or 0}) != External():
        what = f"{card_yaml}: networks of passband's families take zero mean and unit variance and return logits of one channel; remove normalisation, output and channel"
        raise BadInputError(what)
    try:
        network = load_weights(file, description.network, "of that network")
    except BadInputError as error:
        error.remedy = f"correct network: in {card_yaml}, or get the file again"
        raise
    divisor = description.network.divisor
    if description.field_pixels % divisor or description.divisor not in (None, divisor):
        what = f"{card_yaml}: this network's images must have a multiple of {divisor} pixels a side; correct field_pixels {description.field_pixels}, and leave out divisor"
        raise BadInputError(what)
    with torch.no_grad():
        if not network(torch.randn(1, 1, divisor, divisor)).isfinite().all():
            raise BadInputError(f"{file}: returns values that are no numbers; train it again")
    content = file.read_bytes()
    return store.write_model(
        _place(description.name), description.card(divisor, file, content), {store.WEIGHTS: content}
    )


def _description(path: Path) -> Description:
    description = yaml_config.load(Description, path)
    if description.divisor is not None and description.field_pixels % description.divisor:
        what = f"{path}: field_pixels {description.field_pixels} is no multiple of divisor {description.divisor}; correct one of them"
        raise BadInputError(what)
    return description


def refuse_pickles(file: Path) -> None:
    """Refuse pickles, by name and by first bytes, and unknown endings."""
    try:
        with file.open("rb") as opened:
            first = opened.read(4)
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read: {error.strerror}; correct the path") from None
    if file.suffix.lower() in _PICKLES or first[:2] == b"PK" or (first[:1] == b"\x80" and first[1:2] <= b"\x05"):
        what = "is in PyTorch's own format, whose reading can run any program, so it is not opened"
        remedy = (
            f"export the network to ONNX, {EXPORT}, or save the weights of one of passband's families as safetensors"
        )
        raise BadInputError(what, remedy=remedy, place=file)
    if file.suffix.lower() not in (".onnx", ".safetensors"):
        what = f"{file}: ends in neither .onnx nor .safetensors nor .zip; give an ONNX network, weights as safetensors, or a model's zip file"
        raise BadInputError(what)


def _place(name: str) -> Path:
    """Return the folder of a new model; BadInputError if there is one of this name."""
    if taken := store.installed().get(name):
        remedy = f"delete it first, or choose another {parameter('name')}"
        raise BadInputError(f"a model {name!r} is installed already", remedy=remedy, place=taken)
    return store.user_folder() / name
