"""One image of a microscope with its metadata: what readers return and all analysis takes."""

import math
from dataclasses import dataclass, fields
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter

#: Pixel sizes of high-resolution TEM images [Å]; a calibration outside them is refused.
PIXEL_SIZE_ANGSTROM = (0.02, 3.0)
#: Energies of transmission electron microscopes [eV].
ENERGY_EV = (20e3, 3e6)
#: Largest dose of a micrograph [e/Å²].
MOST_DOSE = 1e7
#: Smallest and largest side of a micrograph [pixels].
SIDE_PIXELS = (64, 16384)
# Longest side on a screen [pixels].
_SHOWN_PIXELS = 2048


@dataclass(frozen=True)
class Calibration:
    """What a user says of an image; None leaves it to the file.

    Attributes:
        pixel_size_angstrom: of the image, square [Å].
        energy_ev: of the electrons [eV].
        dose_per_angstrom2: of the image [e/Å²].

    Raises:
        BadInputError: if a value is not positive.
    """

    pixel_size_angstrom: float | None = None
    energy_ev: float | None = None
    dose_per_angstrom2: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that are not positive."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise BadInputError(
                    f"{parameter(field.name)} {value:g}: has to be a positive number",
                    value=value,
                    remedy="give it in Å, eV or e/Å²",
                )


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One image of a microscope.

    Attributes:
        intensity: (h, w) float32, finite, as the detector recorded it: linear in the intensity, any offset and gain.
        pixel_size_angstrom: of the image, square [Å].
        energy_ev: of the electrons, if known [eV].
        dose_per_angstrom2: if known [e/Å²].
        name: of the file or array, for messages and names of outputs.
        notes: on metadata, assumptions and repairs, in sentences.

    Raises:
        BadInputError: if the shape, the values or a calibration cannot be those of a micrograph.
    """

    intensity: NDArray[np.float32]
    pixel_size_angstrom: float
    energy_ev: float | None = None
    dose_per_angstrom2: float | None = None
    name: str = "array"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be a micrograph."""
        shape, (low, high) = self.intensity.shape, SIDE_PIXELS
        if len(shape) != 2 or not all(low <= side <= high for side in shape):
            raise BadInputError(
                f"has shape {shape}; a micrograph is an image of {low} to {high} pixels a side", place=self.name
            )
        if not np.isfinite(self.intensity).all():
            raise BadInputError("holds values that are not finite; repair or crop it first", place=self.name)
        self._check("pixel_size_angstrom", "pixel size", "Å", PIXEL_SIZE_ANGSTROM, "a high-resolution TEM image")
        self._check("energy_ev", "energy", "eV", ENERGY_EV, "a transmission electron microscope")
        self._check("dose_per_angstrom2", "dose", "e/Å²", (0.0, MOST_DOSE), "a micrograph")

    def _check(self, name: str, noun: str, unit: str, limit: tuple[float, float], subject: str) -> None:
        value, (low, high) = getattr(self, name), limit
        if value is not None and not (low <= value <= high and value > 0):
            raise BadInputError(
                f"its {noun} of {value:g} {unit} is not that of {subject} ({low:g} to {high:g} {unit})",
                value=value,
                limit=limit,
                remedy=f"give the right one with {parameter(name)}",
                place=self.name,
            )

    def grey(self) -> tuple[NDArray[np.uint8], int]:
        """Return the image in shades of grey, 1st to 99th percentile, at most 2048 pixels a side, and the pixels averaged along a side."""
        step = max(-(-max(self.intensity.shape) // _SHOWN_PIXELS), 1)
        h, w = (side // step for side in self.intensity.shape)
        small = self.intensity[: h * step, : w * step].reshape(h, step, w, step).mean((1, 3))
        low, high = np.percentile(small, [1, 99])
        return np.clip((small - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8), step

    def _repr_png_(self) -> bytes:
        from PIL import Image

        content = BytesIO()
        Image.fromarray(self.grey()[0]).save(content, format="PNG")
        return content.getvalue()

    def __str__(self) -> str:
        """Return the name and the notes, a line each."""
        return "\n".join([self.name, *(f"  {note}" for note in self.notes)])
