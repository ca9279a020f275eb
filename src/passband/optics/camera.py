"""What a camera leaves of the contrast of an image."""

import math

import numpy as np
import torch
from torch import Tensor

from passband.conditions import Condition
from passband.conditions.detector import Curve


def curve_at(curve: float | Curve, fraction: Tensor) -> Tensor:
    """Return a camera's curve, or the Gaussian of a value at Nyquist, at fractions of the Nyquist frequency, of their shape."""
    if isinstance(curve, float):
        return torch.exp(math.log(curve) * fraction**2)
    places, values = zip(*curve, strict=True)
    return torch.from_numpy(np.interp(fraction.numpy(), places, values))


def electrons_per_pixel(condition: Condition) -> float:
    """Return the electrons that a physical pixel counts in vacuum, on average; inf without a dose."""
    detector, dose = condition.detector, condition.dose_per_angstrom2
    area = (condition.pixel_size_angstrom / detector.binning) ** 2
    return math.inf if dose is None else dose * area * detector.counted


def noise_power(condition: Condition, fraction: Tensor) -> Tensor | None:
    """Return the power of the shot noise over that of counted electrons at fractions of Nyquist; None for white noise, 1 everywhere.

    The square of the noise transfer function (Meyer and Kirkland, Microsc. Res. Tech. 49 (2000) 269): DQE(0) MTF² / DQE for a measured
    DQE (McMullan et al., Ultramicroscopy 109 (2009) 1126), else c MTF² + 1 − c with the detector's `correlated_noise` c.
    """
    detector = condition.detector
    shared, measured = detector.correlated_noise, isinstance(detector.dqe, list)
    if not measured and (not shared or detector.mtf is None):
        return None
    squared = torch.ones_like(fraction) if detector.mtf is None else curve_at(detector.mtf, fraction) ** 2
    if isinstance(detector.dqe, list):
        return detector.counted * squared / curve_at(detector.dqe, fraction)
    return shared * squared + 1 - shared
