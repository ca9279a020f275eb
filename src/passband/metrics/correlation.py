"""Normalised inner products of two conditions' transfers."""

import torch
from torch import Tensor

from passband.metrics.band import View


def image_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w Re(T T′*) [B, B′], Σ w |T|² [B] and Σ w |T′|² [B′].

    With the object's power spectrum as weight, their cosine is the expected correlation coefficient of the noise-free images of
    a weak object. Source: the Fourier ring correlation (Saxton and Baumeister, J. Microsc. 127 (1982) 127), over the band.
    """
    a, b, w = train.transfer, test.transfer, train.band.weight
    product = (a.real * w) @ b.real.T + (a.imag * w) @ b.imag.T
    return product, (train.magnitude**2 * w).sum(1), (test.magnitude**2 * w).sum(1)


def wave_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return real and imaginary part of Σ w t t′* [B, B′], Σ w |t|² [B] and Σ w |t′|² [B′], envelopes included."""
    a, b, w = train.wave, test.wave, train.band.weight
    product = (a * w) @ b.conj().T
    return product.real, product.imag, (a.abs() ** 2 * w).sum(1), (b.abs() ** 2 * w).sum(1)


def finish(product: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return ∫ w a b / √(∫ w a² ∫ w b²) in [−1, 1], symmetric; NaN where nothing is transferred."""
    return product / (train[:, None] * test).sqrt()


def wave_finish(real: Tensor, imaginary: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return |∫ w t t′*| / √(∫ w |t|² ∫ w |t′|²) in [0, 1], the fidelity of the two image waves of a point."""
    return finish(torch.hypot(real, imaginary), train, test)
