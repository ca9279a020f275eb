"""Import external networks: ONNX files, or weights of passband's families, with a description in YAML. Nothing is unpickled."""

import hashlib
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.files import yaml_config
from passband.learning import NetworkConfig, build
from passband.micrographs.sandbox.parsing import Limits
from passband.models import external_trial, store
from passband.models.card import External, ModelCard, Positive, Specimens
from passband.models.store import Model

# Default pixel sizes of images: the finest [Å], and the coarsest relative to the network's. Coarser images lack frequencies that the
# network was trained on.
_FINEST, _COARSEST = 0.05, 1.1
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".ts", ".torchscript", ".pt2")
_UNPICKLED = (
    "is in PyTorch's own format, whose reading can run any program, so it is not opened; "
    'export the network to ONNX, torch.onnx.export(network, (image,), "network.onnx", dynamo=True), or save the weights of one of passband\'s families as safetensors'
)


class Description(External):
    """Description of an external network in YAML.

    Attributes:
        name, intended_use, limits, licence, pixel_size_angstrom, field_pixels, threshold, specimens, conditions: as in `card.ModelCard`.
        pixel_band_angstrom: as there; by default 0.05 Å to 1.1 times the network's pixels.
        divisor: as there; determined by trial if omitted.
        q_max_per_angstrom: as there; by default the Nyquist frequency of the network's pixels.
        normalisation, output: as in `card.External`.
        channel: as there; required if there are several.
        network: family and shape, for weights of one of passband's families.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    intended_use: str = "Not stated at import."
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
    channel: Annotated[int, Field(ge=0, le=1023)] | None = None
    network: NetworkConfig | None = None

    @property
    def external(self) -> External:
        """Input and output; the channel may be unknown."""
        return External(**self.model_dump(include=set(External.model_fields)))

    def card(self, divisor: int, file: Path, content: bytes) -> ModelCard:
        """Return the card of the model, without checksums and network."""
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


def import_network(file: str | Path, description: str | Path) -> Model:
    """Install an external network among the user's models and return the model.

    Args:
        file: ONNX, or safetensors with the weights of one of passband's families.
        description: of the network, see `Description`.

    Raises:
        BadInputError: if it is neither, or refused.
    """
    file, description = Path(file), Path(description)
    return import_weights(file, description) if file.suffix == ".safetensors" else import_onnx(file, description)


def import_onnx(file: Path, card_yaml: Path, limits: Limits | None = None) -> Model:
    """Install an ONNX network among the user's models, after one run in a limited process, and return the model.

    Args:
        file: of the network, at most 500 MB in one file: one input [1 or any, 1, h, w] and one output [·, C, h, w], float32.
        card_yaml: description of the network, see `Description`.
        limits: on time and memory for one image; None for the default.

    Raises:
        BadInputError: with the fault of the file or its description.
    """
    refuse_pickles(file)
    description = _description(card_yaml)
    if description.network is not None:
        raise BadInputError(
            f"{card_yaml}: network: describes weights of passband's families, which {file} is not; remove it"
        )
    external, side = description.external, description.field_pixels
    trial = external_trial.try_network(
        file, (side, side), external, find_divisor=description.divisor is None, limits=limits
    )
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != trial.digest:
        raise BadInputError(f"{file}: has changed while it was read; try again")
    card = description.card(description.divisor or trial.divisor or side, file, content).model_copy(
        update={"runs": "onnx", "external": external.model_copy(update={"channel": description.channel or 0})}
    )
    return store.write_model(_place(description.name), card, {store.ONNX: content})


def import_weights(file: Path, card_yaml: Path) -> Model:
    """Install weights of one of passband's network families (safetensors) among the user's models and return the model.

    Args:
        file: of the weights.
        card_yaml: description of the network, see `Description`; with `network`.

    Raises:
        BadInputError: if the weights do not fit the described network.
    """
    description = _description(card_yaml)
    if description.network is None:
        raise BadInputError(
            f"{card_yaml}: does not describe the shape of the network; add network: {{family: unet, widths: […]}}"
        )
    if (description.normalisation, description.output, description.channel or 0) != (
        "zero_mean_unit_variance",
        "logits",
        0,
    ):
        raise BadInputError(
            f"{card_yaml}: networks of passband's families take zero mean and unit variance and return logits of one channel; remove normalisation, output and channel"
        )
    # Compare shapes on the meta device before allocating anything.
    with torch.device("meta"):
        wanted = {k: list(v.shape) for k, v in build(description.network).state_dict().items()}
    try:
        with safe_open(file, "pt") as opened:
            shapes = {k: opened.get_slice(k).get_shape() for k in opened.keys()}  # noqa: SIM118 not a mapping
        if shapes != wanted:
            odd = sorted({*shapes} ^ {*wanted} or {k for k in wanted if shapes[k] != wanted[k]})
            raise BadInputError(
                f"{file}: does not hold the weights of that network: {odd[0]} differs; correct network: in {card_yaml}"
            )
        content = file.read_bytes()
        network = build(description.network)
        network.load_state_dict(load(content))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise BadInputError(f"{file}: holds no weights that can be read: {str(error).splitlines()[0]}") from None
    divisor = description.network.divisor
    if description.field_pixels % divisor or description.divisor not in (None, divisor):
        raise BadInputError(
            f"{card_yaml}: this network's images must have a multiple of {divisor} pixels a side; correct field_pixels {description.field_pixels}, and leave out divisor"
        )
    with torch.no_grad():
        if not network.eval()(torch.randn(1, 1, divisor, divisor)).isfinite().all():
            raise BadInputError(f"{file}: returns values that are no numbers; train it again")
    card = description.card(divisor, file, content).model_copy(update={"network": description.network})
    return store.write_model(_place(description.name), card, {store.WEIGHTS: content})


def _description(path: Path) -> Description:
    """Read and validate a description."""
    content, lines = yaml_config.read_yaml(path)
    description = yaml_config.validate(Description, content, path, lines)
    if description.divisor is not None and description.field_pixels % description.divisor:
        raise BadInputError(
            f"{path}: field_pixels {description.field_pixels} is no multiple of divisor {description.divisor}; correct one of them"
        )
    if (
        description.pixel_band_angstrom is not None
        and description.pixel_band_angstrom[0] > description.pixel_band_angstrom[1]
    ):
        raise BadInputError(
            f"{path}: pixel_band_angstrom {list(description.pixel_band_angstrom)} runs downwards; write [finest, coarsest]"
        )
    return description


def refuse_pickles(file: Path) -> None:
    """Refuse pickles, by name and by first bytes, and unknown endings."""
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
