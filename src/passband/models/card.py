"""What is known of a trained network: the card of a model."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
)

from passband.conditions import Condition
from passband.learning import NetworkConfig

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Specimens(BaseModel):
    """What a model has been trained on.

    Attributes:
        elements: of the particles.
        support: material of the film, or None.
        thickness_angstrom: thinnest and thickest film [Å].
        diameter_angstrom: of the particles, smallest and largest [Å].
        recipe: the whole recipe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    elements: Annotated[tuple[str, ...], Field(min_length=1)]
    support: str | None = None
    thickness_angstrom: tuple[float, float] | None = None
    diameter_angstrom: tuple[float, float] | None = None
    recipe: dict[str, Any] | None = None


class Foreign(BaseModel):
    """How a network that is not passband's own is asked, and how its answer is read.

    Attributes:
        normalisation: of the images that it takes: zero_mean_unit_variance, or min_max (each image from 0 to 1). A network that wants
            counts as they are cannot know another dose or camera, and is not run.
        output: logits or probability of each channel, or softmax: scores of classes that exclude each other, before the softmax.
        channel: that stands for particle, from 0.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    normalisation: Literal["zero_mean_unit_variance", "min_max"] = "zero_mean_unit_variance"
    output: Literal["logits", "probability", "softmax"] = "logits"
    channel: Annotated[int, Field(ge=0, le=1023)] = 0


class ModelCard(BaseModel):
    """The card of a model: all that its verdicts rest on, and the checksums of its files.

    Attributes:
        format: of the card; this passband reads 1.
        name: of the model.
        intended_use: in a sentence or two.
        limits: what it is not for, a sentence each.
        licence: SPDX expression, or a sentence.
        made_by: command, versions, study and network that the model comes from.
        runs: passband (weights of one of its networks) or onnx (a foreign network).
        network: family and shape, for `passband`.
        foreign: how it is asked, for `onnx`; None is the defaults.
        pixel_size_angstrom: that the network works at [Å].
        pixel_band_angstrom: pixel sizes that an image may have, finest and coarsest [Å]; it is resampled.
        field_pixels: side of the images that the network was trained on, and of the tiles it is shown [pixels].
        divisor: the side of a tile must be a multiple of it.
        threshold: probability from which a pixel is particle.
        q_max_per_angstrom: band of ε and σ [1/Å].
        specimens: what it was trained on.
        conditions: that it was trained on; empty if not known.
        scored_on: specimens that it was scored on, where they are not those of its training.
        own_loss: median loss under the conditions it was trained on, or the best tenth of the tested ones if those are not known.
        files: SHA-256 of each file beside the card.
        digest: SHA-256 of the rest of the card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    intended_use: str
    limits: tuple[str, ...] = ()
    licence: str
    made_by: dict[str, Any] = {}
    runs: Literal["passband", "onnx"] = "passband"
    network: NetworkConfig | None = None
    foreign: Foreign | None = None
    pixel_size_angstrom: Positive
    pixel_band_angstrom: tuple[Positive, Positive]
    field_pixels: Annotated[int, Field(ge=16, le=4096)]
    divisor: Annotated[int, Field(ge=1, le=1024)]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    q_max_per_angstrom: Positive
    specimens: Specimens
    conditions: tuple[Condition, ...] = ()
    scored_on: Specimens | None = None
    own_loss: float | None = None
    files: dict[str, Digest] = {}
    digest: Digest | None = None

    @field_validator("pixel_band_angstrom")
    @classmethod
    def _ascending(cls, band: tuple[float, float]) -> tuple[float, float]:
        if band[0] > band[1]:
            raise ValueError(f"pixel_band_angstrom {list(band)} runs downwards; write [finest, coarsest]")
        return band

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if "/" in name or name.startswith(".") or name == "card.json":
                raise ValueError(f"files: {name!r} is no plain file name")
        return files

    @model_serializer(mode="wrap")
    def _without_what_is_rare(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what only networks of others have, so that the digests of cards without it stay."""
        content: dict[str, Any] = write(self)
        for name in ("foreign", "scored_on"):
            if content.get(name, 0) is None:
                del content[name]
        return content

    def own_digest(self) -> str:
        """Return the SHA-256 of the card without its digest."""
        content = json.dumps(self.model_dump(mode="json", exclude={"digest"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
