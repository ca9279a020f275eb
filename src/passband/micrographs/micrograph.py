"""One image of a microscope with what is known of it: the value that reading gives and everything else takes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError

#: Pixel sizes that a high-resolution TEM image can have [Å]; outside them a calibration is taken for a mistake.
PIXEL_SIZE_ANGSTROM = (0.02, 3.0)
#: Energies that a TEM can have [eV].
ENERGY_EV = (20e3, 3e6)
#: Dose above which a micrograph's is taken for a mistake [e/Å²].
MOST_DOSE = 1e7
#: Sides that a micrograph can have [pixels].
SIDE_PIXELS = (64, 16384)


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One image of a microscope.

    Attributes:
        intensity: (h, w) float32, finite, as the detector gave it: linear in the intensity, any offset and gain.
        pixel_size_angstrom: of the image, square [Å].
        energy_ev: of the electrons, if known [eV].
        dose_per_angstrom2: if known [e/Å²].
        name: of the file or array it comes from, for messages and for the names of outputs.
        found: what was found in the file, assumed and repaired, in sentences.

    Raises:
        BadInputError: if the shape, the values or a calibration cannot be those of a micrograph.
    """

    intensity: NDArray[np.float32]
    pixel_size_angstrom: float
    energy_ev: float | None = None
    dose_per_angstrom2: float | None = None
    name: str = "array"
    found: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be a micrograph."""
        shape = self.intensity.shape
        low, high = SIDE_PIXELS
        if len(shape) != 2 or not all(low <= side <= high for side in shape):
            raise BadInputError(
                f"{self.name}: has shape {shape}; a micrograph is an image of {low} to {high} pixels a side"
            )
        if not np.isfinite(self.intensity).all():
            raise BadInputError(f"{self.name}: holds values that are not finite; repair or crop it first")
        if not PIXEL_SIZE_ANGSTROM[0] <= self.pixel_size_angstrom <= PIXEL_SIZE_ANGSTROM[1]:
            raise BadInputError(
                f"{self.name}: its pixel size of {self.pixel_size_angstrom:g} Å is none of a high-resolution image "
                f"({PIXEL_SIZE_ANGSTROM[0]:g} to {PIXEL_SIZE_ANGSTROM[1]:g} Å); give the right one with --pixel-size"
            )
        if self.energy_ev is not None and not ENERGY_EV[0] <= self.energy_ev <= ENERGY_EV[1]:
            raise BadInputError(
                f"{self.name}: its energy of {self.energy_ev:g} eV is none of a transmission electron microscope "
                f"({ENERGY_EV[0]:g} to {ENERGY_EV[1]:g} eV); give the right one with --energy"
            )
        if self.dose_per_angstrom2 is not None and not 0 < self.dose_per_angstrom2 <= MOST_DOSE:
            raise BadInputError(
                f"{self.name}: its dose of {self.dose_per_angstrom2:g} e/Å² is none of a micrograph (up to {MOST_DOSE:g}); give the right one with --dose"
            )
