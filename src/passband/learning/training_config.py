"""How a network is trained."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from passband.base.frozen_model import FrozenModel
from passband.learning.segmentation import LossName

Frequency = Annotated[float, Field(gt=0, le=0.5, strict=True)]
# Fields of a training that came later, at their defaults.
_LATER = {"crop_pixels": None, "loss": "cross_entropy_dice", "texture": 0.0, "texture_band_per_pixel": (0.02, 0.5)}


class TrainingConfig(FrozenModel):
    """How a network is trained.

    Attributes:
        epochs: passes over the training specimens.
        batch_size: images a step.
        optimizer: sgd (Nesterov momentum 0.9, the optimiser of arXiv:2512.09067) or adam.
        learning_rate: the highest; it rises over the first third of the steps and falls to zero along a cosine.
        weight_decay: L2 penalty of the optimiser.
        texture: standard deviation, up to this many times the image's own, of random texture added to each training image
            (`learning/texture.py`).
        texture_band_per_pixel: its lowest and highest spatial frequency [1/pixel].
        crop_pixels: side of a window of each training image, at a random place, that the network sees; None shows it whole fields.
        loss: what is minimised, and what tests score: cross_entropy_dice, cross_entropy, or softmax_cross_entropy (`learning/task.py`).
    """

    epochs: int = Field(default=20, ge=1, le=100_000, strict=True)
    batch_size: int = Field(default=8, ge=1, le=4096, strict=True)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=0.008, gt=0, le=10, strict=True)
    weight_decay: float = Field(default=0.0, ge=0, le=1, strict=True)
    texture: float = Field(default=0.0, ge=0, le=10, strict=True)
    texture_band_per_pixel: tuple[Frequency, Frequency] = (0.02, 0.5)
    crop_pixels: Annotated[int, Field(ge=16, le=4096, strict=True)] | None = None
    loss: LossName = "cross_entropy_dice"

    @model_serializer(mode="wrap")
    def _without_the_usual(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit later fields at their defaults, which keeps the ids of networks that were trained before there were others."""
        content: dict[str, Any] = write(self)
        return {
            name: value for name, value in content.items() if name not in _LATER or getattr(self, name) != _LATER[name]
        }
