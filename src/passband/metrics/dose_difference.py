"""Δ ln dose: the trivial baseline where the dose differs."""

from torch import Tensor

from passband.optics import Parameters


def dose_difference(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return ln(dose′ / dose), test over train, shape [B, B′]; no shot noise counts as 1e9 e/Å².

    Args:
        train: B training conditions.
        test: B′ test conditions.
        q_max: unused.
    """
    a, b = (p.finite_dose.log() for p in (train, test))
    return b - a[:, None]
