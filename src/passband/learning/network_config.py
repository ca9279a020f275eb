"""Which network a study trains."""

from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from passband.base.frozen_model import FrozenModel

Width = Annotated[int, Field(ge=1, le=4096, strict=True)]
# What shapes a network of each family.
_SHAPES = {"unet": ("widths", "stem"), "resnet_unet": ("backbone",)}


class NetworkConfig(FrozenModel):
    """Family and shape of the network.

    Attributes:
        family: unet, a small one; or resnet_unet, whose encoder is a ResNet, some hundred times as many weights.
        widths: of a unet, channels at each level; every further level halves the resolution.
        stem: of a unet, side of the pixel blocks folded into channels before the first level and unfolded after the last;
            2 makes training about three times as fast at the same number of weights.
        backbone: of a resnet_unet, its encoder.

    Raises:
        pydantic.ValidationError: on unknown names, values out of range, or fields of another family.
    """

    family: Literal["unet", "resnet_unet"] = "unet"
    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=8)] = (8, 16, 32, 64)
    stem: int = Field(default=2, ge=1, le=8, strict=True)
    backbone: Literal["resnet10", "resnet18", "resnet34"] = "resnet18"

    @model_validator(mode="after")
    def _of_one_family(self) -> "NetworkConfig":
        shape = _SHAPES[self.family]
        others = (name for names in _SHAPES.values() for name in names if name not in shape)
        if given := " and ".join(name for name in others if name in self.model_fields_set):
            raise ValueError(
                f"{given} cannot shape a network of family {self.family}, which takes {' and '.join(shape)}; remove {given} or change family"
            )
        return self

    @property
    def divisor(self) -> int:
        """The image's side must be a multiple of this."""
        # Stem, pooling and three of four stages of a ResNet halve.
        return 2**5 if self.family == "resnet_unet" else int(self.stem * 2 ** (len(self.widths) - 1))

    @property
    def trains_in_groups(self) -> bool:
        """Whether many such networks can be trained as one grouped network."""
        return self.family == "unet"

    @model_serializer(mode="wrap")
    def _without_other_families(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit what shapes other families, and the first family's name, which keeps the ids of its networks."""
        content: dict[str, Any] = write(self)
        names = {*_SHAPES[self.family]} | ({"family"} if self.family != "unet" else set())
        return {name: value for name, value in content.items() if name in names}
