"""Signed overlap: σ in which frequencies with reversed contrast are subtracted."""

from torch import Tensor

from passband.metrics.band import View
from passband.metrics.overlap import finish, shared

__all__ = ["finish", "sums"]


def sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w s s′ min(|T|, |T′|) [B, B′] and Σ w |T| [B]; s is the sign of sin χ of the even aberrations.

    Odd aberrations (coma, trefoil) change the phase of T, but do not reverse contrast by themselves.
    """
    a, b = (view.signed * view.band.weight for view in (train, test))
    up_a, down_a, up_b, down_b = a.clamp_min(0), (-a).clamp_min(0), b.clamp_min(0), (-b).clamp_min(0)
    kept = shared(up_a, up_b) + shared(down_a, down_b)
    return kept - shared(up_a, down_b) - shared(down_a, up_b), a.abs().sum(1)
