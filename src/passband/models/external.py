"""Networks from elsewhere: ONNX files, and weights of passband's own families, with a description in YAML. Nothing is unpickled."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.files import yaml_config
from passband.learning import NetworkConfig, build
from passband.micrographs.sandbox.parsing import Limits
from passband.models import external_trial, onnx_files, store
from passband.models.card import Foreign, ModelCard, Positive, Specimens
from passband.models.external_trial import Way
from passband.models.store import Model

# As of the models that `packing` makes: finer images lose nothing by resampling, coarser ones lack what the network has seen.
_FINEST, _COARSEST = 0.05, 1.1
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".ts", ".torchscript", ".pt2")
_UNPICKLED = (
    "is PyTorch's own format, whose reading can run any program, so that it is not opened; "
    'export the network to ONNX, torch.onnx.export(network, (image,), "network.onnx", dynamo=True), or save the weights of one of passband\'s families as safetensors'
)


class Description(BaseModel):
    """What a user says of a network in YAML.

    Attributes:
        name, intended_use, limits, licence, pixel_size_angstrom, field_pixels, threshold, specimens, conditions: as in `card.ModelCard`.
        pixel_band_angstrom: as there; from 0.05 Å to a tenth more than the network's pixels if left out.
        divisor: as there; found out by trying if left out.
        q_max_per_angstrom: as there; the Nyquist frequency of the network's pixels if left out.
        normalisation, output: as in `card.Foreign`.
        channel: as there; to be said where there are several.
        network: family and shape, for weights of one of passband's families.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    intended_use: str = "Not said by who imported it."
    limits: tuple[str, ...] = ()
    licence: str
    pixel_size_angstrom: Positive
    pixel_band_angstrom: tuple[Positive, Positive] | None = None
    field_pixels: Annotated[int, Field(ge=16, le=4096)]
    divisor: Annotated[int, Field(ge=1, le=1024)] | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    q_max_per_angstrom: Positive | None = None
    specimens: Specimens
    conditions: tuple[Condition, ...] = ()
    normalisation: Literal["zero_mean_unit_variance", "min_max"] = "zero_mean_unit_variance"
    output: Literal["logits", "probability", "softmax"] = "logits"
    channel: Annotated[int, Field(ge=0, le=1023)] | None = None
    network: NetworkConfig | None = None

    def card(self, divisor: int, file: Path, content: bytes) -> ModelCard:
        """Return the card of the model, without checksums and without what runs it."""
        same = self.model_dump(
            exclude={"normalisation", "output", "channel", "network", "specimens", "conditions"}, exclude_none=True
        )
        pixel = self.pixel_size_angstrom
        defaults = {
            "pixel_band_angstrom": (min(_FINEST, pixel), round(pixel * _COARSEST, 4)),
            "q_max_per_angstrom": 0.5 / pixel,
        }
        return ModelCard(
            **(defaults | same | {"divisor": divisor}),
            specimens=self.specimens,
            conditions=self.conditions,
            made_by={"imported_from": file.name, "sha256": hashlib.sha256(content).hexdigest()},
        )


def open_session(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Return what runs the ONNX network of a model: normalised images [B, 1, h, w], float32, to logits of the same shape.

    A process with little memory and time runs the network on an image of each shape before this one loads it. Images go in one by
    one, so that memory stays as it was found to be and none can change another's answer.

    Args:
        path: of the network, in the folder of its model.

    Raises:
        BadInputError: if the model's checksums differ, the network is refused or fails, or what runs it is not installed.
    """
    card = store.read_model(path.parent).card
    foreign, digest = card.foreign or Foreign(), card.files[path.name]
    way = Way(**foreign.model_dump())
    external_trial.tried_once(path, digest, (card.field_pixels, card.field_pixels), way)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise BadInputError(f"{path}: has changed while it was read; get the model again")
    session = onnx_files.start(content, torch.get_num_threads())
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> np.ndarray:
        external_trial.tried_once(path, digest, (images.shape[2], images.shape[3]), way)
        ready = onnx_files.to_input(np.ascontiguousarray(images, dtype=np.float32), foreign.normalisation)
        try:
            found = [session.run(None, {name: image[None]})[0] for image in ready]
            return np.concatenate([onnx_files.to_logits(f, foreign.output, foreign.channel) for f in found])
        except Exception as error:  # onnxruntime raises classes of its own.
            raise BadInputError(f"{path}: fails on an image: {' '.join(str(error).split())[:200]}") from None

    return run


def import_network(file: Path, description: Path) -> Model:
    """Install a network from elsewhere among the user's own models and return it.

    Args:
        file: ONNX, or safetensors with the weights of one of passband's families.
        description: of the network, see `Description`.

    Raises:
        BadInputError: if it is neither, or is refused.
    """
    return import_weights(file, description) if file.suffix == ".safetensors" else import_onnx(file, description)


def import_onnx(file: Path, card_yaml: Path, limits: Limits | None = None) -> Model:
    """Install an ONNX network among the user's own models and return it; it is run once in a process of its own.

    Args:
        file: of the network, at most 500 MB in one file: one input [1 or any, 1, h, w] and one output [·, C, h, w], float32.
        card_yaml: description of the network, see `Description`.
        limits: what one image may take; None for the default.

    Raises:
        BadInputError: naming what is wrong with the file or its description.
    """
    refuse_pickles(file)
    said = _description(card_yaml)
    if said.network is not None:
        raise BadInputError(
            f"{card_yaml}: network: describes weights of passband's families, which {file} is not; remove it"
        )
    way, side = Way(said.normalisation, said.output, said.channel), said.field_pixels
    agreed = external_trial.tried(file, (side, side), way, find_divisor=said.divisor is None, limits=limits)
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != agreed.digest:
        raise BadInputError(f"{file}: has changed while it was read; try again")
    card = said.card(said.divisor or agreed.divisor or side, file, content).model_copy(
        update={
            "runs": "onnx",
            "foreign": Foreign(normalisation=said.normalisation, output=said.output, channel=said.channel or 0),
        }
    )
    return store.write_model(_place(said.name), card, {store.ONNX: content})


def import_weights(file: Path, card_yaml: Path) -> Model:
    """Install weights of one of passband's families of networks, as safetensors, among the user's own models and return it.

    Args:
        file: of the weights.
        card_yaml: description of the network, see `Description`; with `network`.

    Raises:
        BadInputError: if the weights are not those of the network that is described.
    """
    said = _description(card_yaml)
    if said.network is None:
        raise BadInputError(
            f"{card_yaml}: says nothing of the network's shape; add network: {{family: unet, widths: […]}}"
        )
    if (said.normalisation, said.output, said.channel or 0) != ("zero_mean_unit_variance", "logits", 0):
        raise BadInputError(
            f"{card_yaml}: passband's families take zero mean and unit variance and give logits of one channel; remove normalisation, output and channel"
        )
    # Shapes without memory behind them, compared before anything is allocated.
    with torch.device("meta"):
        wanted = {k: list(v.shape) for k, v in build(said.network).state_dict().items()}
    try:
        with safe_open(file, "pt") as opened:
            found = {k: opened.get_slice(k).get_shape() for k in opened.keys()}  # noqa: SIM118 it is no mapping
        if found != wanted:
            odd = sorted({*found} ^ {*wanted} or {k for k in wanted if found[k] != wanted[k]})
            raise BadInputError(
                f"{file}: does not hold the weights of that network: {odd[0]} differs; correct network: in {card_yaml}"
            )
        content = file.read_bytes()
        network = build(said.network)
        network.load_state_dict(load(content))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadInputError(f"{file}: holds no weights that can be read: {str(error).splitlines()[0]}") from None
    divisor = said.network.divisor
    if said.field_pixels % divisor or said.divisor not in (None, divisor):
        raise BadInputError(
            f"{card_yaml}: this network's images must have a multiple of {divisor} pixels a side; correct field_pixels {said.field_pixels}, and leave out divisor"
        )
    with torch.no_grad():
        if not network.eval()(torch.randn(1, 1, divisor, divisor)).isfinite().all():
            raise BadInputError(f"{file}: gives values that are no numbers; train it again")
    card = said.card(divisor, file, content).model_copy(update={"network": said.network})
    return store.write_model(_place(said.name), card, {store.WEIGHTS: content})


def _description(path: Path) -> Description:
    """Read a description and check what needs no network."""
    content, lines = yaml_config.read_yaml(path)
    said = yaml_config.validate(Description, content, path, lines)
    if said.divisor is not None and said.field_pixels % said.divisor:
        raise BadInputError(
            f"{path}: field_pixels {said.field_pixels} is no multiple of divisor {said.divisor}; correct one of them"
        )
    if said.pixel_band_angstrom is not None and said.pixel_band_angstrom[0] > said.pixel_band_angstrom[1]:
        raise BadInputError(
            f"{path}: pixel_band_angstrom {list(said.pixel_band_angstrom)} runs downwards; write [finest, coarsest]"
        )
    return said


def refuse_pickles(file: Path) -> None:
    """Refuse what could only be opened by unpickling, by its name and by its first bytes."""
    try:
        with file.open("rb") as opened:
            first = opened.read(4)
    except OSError as error:
        raise BadInputError(f"{file}: cannot be read: {error.strerror}; correct the path") from None
    if file.suffix.lower() in _PICKLES or first[:2] == b"PK" or (first[:1] == b"\x80" and first[1:2] <= b"\x05"):
        raise BadInputError(f"{file}: {_UNPICKLED}")
    if file.suffix != ".onnx":
        raise BadInputError(
            f"{file}: ends in neither .onnx nor .safetensors nor .zip; give an ONNX network, weights as safetensors, or a model's zip file"
        )


def _place(name: str) -> Path:
    """Return the folder of a new model.

    Raises:
        BadInputError: if there is one of this name.
    """
    taken = store.installed().get(name)
    if taken is not None:
        raise BadInputError(f"{taken}: a model {name!r} is installed already; delete it first, or choose another name")
    return store.user_folder() / name
