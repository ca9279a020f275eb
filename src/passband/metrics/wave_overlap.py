"""Coherent overlap of the wave transfers, envelopes included."""

import torch
from torch import Tensor

from passband.metrics.band import View


def sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return real and imaginary part of Σ w t t′* [B, B′], Σ w |t|² [B] and Σ w |t′|² [B′]."""
    a, b, w = train.wave, test.wave, train.band.weight
    product = (a * w) @ b.conj().T
    return product.real, product.imag, (a.abs() ** 2 * w).sum(1), (b.abs() ** 2 * w).sum(1)


def finish(real: Tensor, imaginary: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return |∫ w t t′*| / √(∫ w |t|² ∫ w |t′|²) in [0, 1], the fidelity of the two image waves of a point.

    NaN where an aperture lets nothing through.
    """
    return torch.hypot(real, imaginary) / (train[:, None] * test).sqrt()
