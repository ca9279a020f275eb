"""Which pixels count as particle: a choice of the recipe."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer

from passband.base.frozen_model import FrozenModel


class PhaseLabel(FrozenModel):
    """Particle is where the exit wave of the particles alone, in vacuum and at rest, differs in phase from vacuum.

    Attributes:
        phase_rad: least modulus of the phase, in (−π, π] [rad].
        blur_angstrom: standard deviation of the Gaussian that smooths the mask before it is cut at one half [Å].
    """

    kind: Literal["phase"] = "phase"
    phase_rad: float = Field(default=math.pi / 16, gt=0, lt=math.pi, strict=True)
    blur_angstrom: Annotated[float, Field(ge=0, le=20, allow_inf_nan=False, strict=True)] = 1.6


def _as_label(given: Any) -> Any:
    return {"kind": "phase"} if given == "phase" else given


class Labelled(FrozenModel):
    """A recipe with a choice of label.

    Attributes:
        label: outline, the outline of the atoms in projection; or phase, with what belongs to it (`PhaseLabel`).
    """

    label: Annotated[Literal["outline"] | PhaseLabel, BeforeValidator(_as_label)] = "outline"

    @model_serializer(mode="wrap")
    def _without_outline(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit the usual label, which keeps the ids of recipes that were written before there was another."""
        content: dict[str, Any] = write(self)
        return {name: value for name, value in content.items() if name != "label" or value != "outline"}
