"""Difference of delocalisation: rms difference of the lengths over which the conditions spread each frequency."""

from torch import Tensor

from passband.metrics.band import View
from passband.metrics.phase_rms import finish

__all__ = ["finish", "sums"]


def sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return the sums of `phase_rms` for |∇χ|/2π [Å] in place of χ; the result is an rms length [Å].

    Source: Lichte, Ultramicroscopy 38 (1991) 13, for delocalisation as |∇χ|/2π.
    """
    a, b, w = train.delocalisation, test.delocalisation, train.band.weight
    return (a * w) @ b.T, (a**2 * w).sum(1), (b**2 * w).sum(1), w.sum()
