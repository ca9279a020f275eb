"""Shot noise."""

import torch
from torch import Tensor

from passband.conditions import ImagingCondition


def apply_dose(intensity: Tensor, condition: ImagingCondition, *, generator: torch.Generator) -> Tensor:
    """Return electron counts, Poisson with mean intensity · dose · pixel area; without a dose, the intensity itself.

    Args:
        intensity: expected intensity, vacuum = 1, any shape. The ideal camera's band limit can leave it slightly below
            zero; those pixels count nothing.
        condition: gives the dose [e/Å²] and the pixel size [Å].
        generator: source of randomness.
    """
    if condition.dose_per_angstrom2 is None:
        return intensity
    return torch.poisson(
        (intensity * (condition.dose_per_angstrom2 * condition.pixel_size_angstrom**2)).clamp_min(0),
        generator=generator,
    )
