"""Cameras: what the recording does to the expected intensity and to its noise.

Frequencies are fractions of the Nyquist frequency of the camera's physical pixels.
"""

from typing import Annotated, Any

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from passband.files.yaml_config import Config

# Fields that came after the others.
_LATER = {"correlated_noise", "readout_electrons", "gain_residue", "bad_pixels"}
Curve = list[Annotated[list[Annotated[float, Field(strict=True)]], Field(min_length=2, max_length=2)]]


class Detector(Config):
    """A camera; the default is ideal.

    Attributes:
        mtf: modulation transfer: a number is a Gaussian with that value at Nyquist; a list of [fraction of Nyquist,
            value] is a measured curve, interpolated linearly; None is 1 everywhere.
        dqe: detective quantum efficiency: a number is the share of electrons that are counted, with white noise; a list
            of [fraction of Nyquist, value] is a measured curve, whose value at 0 is that share; None counts all, with white
            noise, so that DQE = MTF².
        binning: physical pixels along a side of one pixel of the image.
        correlated_noise: share c of the shot noise's power that the point spread blurs along with the signal. The noise power is
            (noise transfer function)² = c MTF² + 1 − c, so that DQE = DQE(0) MTF² / (c MTF² + 1 − c): 0 is white noise, 1 a
            camera whose every electron makes the same spot. Not with a measured DQE, which says it already.
        readout_electrons: standard deviation of white noise that a physical pixel adds, in electrons.
        gain_residue: relative standard deviation of what flat-field correction leaves of the pixels' gains, drawn for each image.
        bad_pixels: share of the physical pixels that are dead or hot: each reads a random value from 0 to twice the mean.

    Raises:
        BadInputError: on values outside their range or curves that do not rise from 0 to Nyquist.
    """

    mtf: float | Curve | None = None
    dqe: float | Curve | None = None
    binning: int = Field(default=1, ge=1, le=16, strict=True)
    correlated_noise: float = Field(default=0.0, ge=0, le=1, strict=True)
    readout_electrons: float = Field(default=0.0, ge=0, le=1e4, strict=True)
    gain_residue: float = Field(default=0.0, ge=0, le=0.5, strict=True)
    bad_pixels: float = Field(default=0.0, ge=0, le=0.1, strict=True)

    @model_serializer(mode="wrap")
    def _without_later_fields(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit later fields at their defaults, which keeps the ids of conditions that were written before there were others."""
        content: dict[str, Any] = write(self)
        return {name: value for name, value in content.items() if name not in _LATER or value != 0}

    @model_validator(mode="after")
    def _one_noise(self) -> "Detector":
        if self.correlated_noise and isinstance(self.dqe, list):
            raise ValueError("correlated_noise and a measured dqe both shape the noise; keep one of them")
        return self

    @field_validator("mtf", "dqe", mode="before")
    @classmethod
    def _in_range(cls, value: Any) -> Any:
        if isinstance(value, bool | str):
            raise ValueError(f"{value!r} is neither a number nor a list of [fraction of Nyquist, value]")
        if isinstance(value, int | float) and not 0 < value <= 1:
            raise ValueError(f"{value:g} is outside 0 to 1; give the value at Nyquist (mtf) or the share counted (dqe)")
        return value

    @field_validator("mtf", "dqe")
    @classmethod
    def _a_curve(cls, value: float | Curve | None, info: ValidationInfo) -> float | Curve | None:
        if not isinstance(value, list):
            return value
        places = [point[0] for point in value]
        if len(value) < 2 or places[0] != 0 or places[-1] < 1 or sorted(set(places)) != places:
            what = "a curve is a list of [fraction of Nyquist, value] that rises from 0 to at least 1"
            raise ValueError(f"{what}, such as [[0, 1], [0.5, 0.7], [1, 0.3]]")
        if not all(0 < point[1] <= 1.5 for point in value):
            raise ValueError("a curve's values lie above 0 and up to 1 (1.5 for a sharpened MTF)")
        if info.field_name == "dqe" and value[0][1] > 1:
            remedy = "no camera counts more electrons than there are, so begin at 1 or less"
            raise ValueError(f"the DQE begins at {value[0][1]:g}; {remedy}")
        return value

    @property
    def counted(self) -> float:
        """Share of the electrons that are counted, DQE(0)."""
        if isinstance(self.dqe, list):
            return self.dqe[0][1]
        return 1.0 if self.dqe is None else self.dqe

    def on_pixels(self, ratio: float) -> "Detector":
        """Return this camera as seen after its images have been resampled, unbinned.

        Args:
            ratio: its physical pixels over the new ones.
        """
        mtf = max(self.mtf ** (ratio**2), 1e-30) if isinstance(self.mtf, float) else _stretched(self.mtf, ratio)
        dqe = self.dqe if isinstance(self.dqe, float) else _stretched(self.dqe, ratio)
        return Detector(**{**self.model_dump(), "mtf": mtf, "dqe": dqe, "binning": 1})

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


def _stretched(curve: Curve | None, ratio: float) -> Curve | None:
    if curve is None:
        return None
    stretched = [[place / ratio, value] for place, value in curve]
    # Coarser pixels by a little: what lies beyond the curve's end is as at its end.
    return stretched if stretched[-1][0] >= 1 else [*stretched, [1.0, stretched[-1][1]]]
