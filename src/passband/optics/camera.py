"""What a camera leaves of the contrast of an image."""

import math

import numpy as np
import torch
from torch import Tensor

from passband.conditions.detector import Curve


def curve_at(curve: float | Curve, fraction: Tensor) -> Tensor:
    """Return a camera's curve, or the Gaussian of a value at Nyquist, at fractions of the Nyquist frequency, of their shape."""
    if isinstance(curve, float):
        return torch.exp(math.log(curve) * fraction**2)
    places, values = zip(*curve, strict=True)
    return torch.from_numpy(np.interp(fraction.numpy(), places, values))
