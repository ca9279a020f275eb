"""The card of a model: metadata of a trained network."""

import hashlib
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field, field_validator, model_serializer, model_validator

from passband.base.frozen_model import FrozenModel
from passband.conditions import Condition
from passband.conditions.sets import Base
from passband.learning import SEGMENTATION, NetworkConfig, Task, task_of
from passband.learning.classes import Classes


def plain(text: str, most: int = 500) -> str:
    """Return a text from a file elsewhere on one line, cut after `most` characters, with `?` for control characters."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(text)[: 2 * most].split())[:most])


def _printable(text: str) -> str:
    if plain(text, len(text)) != " ".join(text.split()):
        raise ValueError(f"{plain(text, 40)!r} contains control characters; remove them")
    return text


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError(f"{list(ends)} runs downwards; write the smaller number first")
    return ends


def _known(task: str) -> str:
    return task_of(task).name


#: A model's name.
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
# Finest pixels of an image [Å], and its coarsest in the network's pixels: coarser ones lack frequencies that the network needs.
_FINEST, _COARSEST = 0.05, 1.1

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=4000), AfterValidator(_printable)]
Word = Annotated[str, Field(max_length=100), AfterValidator(_printable)]
Band = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
_Length = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Range = Annotated[tuple[_Length, _Length], AfterValidator(_ascending)]


def pixel_band(pixel_size_angstrom: float) -> tuple[float, float]:
    """Return the finest and the coarsest pixels of images [Å] that a model takes by default, trained at this pixel size."""
    return min(_FINEST, pixel_size_angstrom), round(pixel_size_angstrom * _COARSEST, 4)


class Specimens(FrozenModel):
    """The specimens a model was trained on: particles of some elements and diameters [Å] on a film of a material and thicknesses [Å]."""

    elements: Annotated[tuple[Word, ...], Field(min_length=1, max_length=100)]
    support: Word | None = None
    thickness_angstrom: _Range | None = None
    diameter_angstrom: _Range | None = None
    recipe: dict[str, Any] | None = None


class External(FrozenModel):
    """Input and output of a network that was not trained by passband.

    Networks that take raw counts are not supported: they depend on dose and camera.
    """

    #: min_max: each image from 0 to 1.
    normalisation: Literal["zero_mean_unit_variance", "min_max"] = "zero_mean_unit_variance"
    #: softmax: scores of exclusive classes, before the softmax.
    output: Literal["logits", "probability", "softmax"] = "logits"
    #: Of the particles, from 0; None while unknown.
    channel: Annotated[int, Field(ge=0, le=1023)] | None = 0


class ValueInterval(FrozenModel):
    """The interval of a value that is predicted of an image: split-conformal, calibrated on simulated images of the training condition.

    It holds for such images. `coverage_elsewhere` tells for how much less of the images under other conditions it does.
    """

    #: Share of images whose true value lies within it, as calibrated.
    level: Annotated[float, Field(gt=0, lt=1)]
    half_width_angstrom: _Length
    #: Number of images that it was calibrated on.
    images: Annotated[int, Field(ge=1)]
    #: Number of other conditions that the study tested the network under; mean and least share of images within the interval there.
    conditions_elsewhere: Annotated[int, Field(ge=0)] = 0
    coverage_elsewhere: Annotated[float, Field(ge=0, le=1)] | None = None
    least_coverage_elsewhere: Annotated[float, Field(ge=0, le=1)] | None = None


class Described(FrozenModel):
    """The metadata that its maker gives to a network; specimens and conditions are those of the training."""

    name: Annotated[str, Field(pattern=NAME)]
    intended_use: Text
    #: Unsuitable uses, a sentence each.
    limits: Annotated[tuple[Text, ...], Field(max_length=50)] = ()
    #: SPDX expression, or a sentence.
    licence: Text
    #: Family and shape, of one of passband's networks.
    network: NetworkConfig | None = None
    pixel_size_angstrom: Positive
    #: Side of the training images and of the tiles.
    field_pixels: Annotated[int, Field(ge=16, le=4096)]
    #: Probability from which a pixel is particle.
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    modality: Literal["hrtem", "stem"] = "hrtem"
    specimens: Specimens
    #: Empty if unknown.
    conditions: Annotated[tuple[Base, ...], Field(max_length=2000)] = ()


class ModelCard(Described):
    """The card of a model, with the SHA-256 of each file beside it, and of the rest of the card."""

    format: Literal[1] = 1
    #: Origin: command, versions, study and network.
    made_by: dict[str, Any] = Field(default_factory=dict)
    #: What the network predicts; one of `learning.TASKS`.
    task: Annotated[Word, AfterValidator(_known)] = SEGMENTATION.name
    #: Of a model of classes, their names in the order of its outputs.
    classes: Annotated[tuple[Word, ...], Field(max_length=256)] = ()
    #: Of a model without verdicts, for another task than segmentation or for STEM: its scores on unseen specimens under the training condition, by name.
    task_scores: dict[Word, float | None] | None = None
    #: Of a task with a value of the image; None if there were too few images to calibrate it on.
    value_interval: ValueInterval | None = None
    #: Weights of one of passband's networks, or an external network.
    runs: Literal["passband", "onnx"] = "passband"
    #: A second network, trained on other specimens, whose agreement tells when a verdict can be given; None for none.
    second_network: NetworkConfig | None = None
    #: Input and output of an external network; None is the defaults. Cards call it `foreign`.
    external: External | None = Field(default=None, validation_alias=AliasChoices("external", "foreign"))
    #: Accepted pixel sizes of images, finest and coarsest; images are resampled.
    pixel_band_angstrom: Band
    #: Of the side of a tile.
    divisor: Annotated[int, Field(ge=1, le=1024)]
    #: Band of ε and σ.
    q_max_per_angstrom: Positive
    #: Outlines that the model marks, relative to those of simulated labels [Å], outwards if positive; as its user's labels have them.
    edge_offset_angstrom: Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)] = 0.0
    #: Specimens of the scores, if other than those of the training.
    scored_on: Specimens | None = None
    #: Median loss under the conditions it was trained on, or the best tenth of the tested ones if those are not known.
    own_loss: Positive | None = None
    files: dict[str, Digest] = Field(default_factory=dict)
    digest: Digest | None = None

    @property
    def home(self) -> str:
        """Where scores and intervals of a model without verdicts hold, in words."""
        return "training condition" + "s" * (len(self.conditions) > 1)

    @property
    def learnt(self) -> Task:
        """The task."""
        return task_of(self.task, classes=self.classes)

    @property
    def hrtem_conditions(self) -> tuple[Condition, ...]:
        """The training conditions that verdicts know: those of HRTEM."""
        return tuple(c for c in self.conditions if isinstance(c, Condition))

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, str]) -> dict[str, str]:
        for name in files:
            if "/" in name or name.startswith(".") or name == "card.json":
                raise ValueError(f"files: {name!r} is no plain file name")
        return files

    @model_serializer(mode="wrap")
    def _as_stored(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """Omit fields of external networks, of other tasks, a modality and an edge offset that are not set, and keep the stored name `foreign`: digests of former cards stay valid."""
        content = write(self)
        if "external" in content:
            content["foreign"] = content.pop("external")
        for name in ("foreign", "scored_on", "second_network", "task_scores", "value_interval"):
            if content.get(name, 0) is None:
                del content[name]
        for name, usual in (
            ("classes", []),
            ("modality", "hrtem"),
            ("edge_offset_angstrom", 0.0),
            ("task", SEGMENTATION.name),
        ):
            if content.get(name) == usual:
                del content[name]
        return content

    @model_validator(mode="after")
    def _outputs_fit(self) -> "ModelCard":
        if self.task == Classes.name and len(self.classes) < 2:
            raise ValueError(
                f"classes: a model of task {self.task} needs the names of its classes; get the model again"
            )
        if self.network is not None and self.network.outputs != self.learnt.outputs:
            raise ValueError(
                f"network.outputs {self.network.outputs} does not suit task {self.task} with {self.learnt.outputs}; get the model again"
            )
        return self

    def own_digest(self) -> str:
        """Return the SHA-256 of the card without its digest."""
        content = json.dumps(self.model_dump(mode="json", exclude={"digest"}), sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()
