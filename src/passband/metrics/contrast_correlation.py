"""Contrast correlation: similarity of the images of a weak object under two conditions."""

from torch import Tensor

from passband.metrics.band import View


def sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w Re(T T′*) [B, B′], Σ w |T|² [B] and Σ w |T′|² [B′]."""
    a, b, w = train.transfer, test.transfer, train.band.weight
    product = (a.real * w) @ b.real.T + (a.imag * w) @ b.imag.T
    return product, (train.magnitude**2 * w).sum(1), (test.magnitude**2 * w).sum(1)


def finish(product: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return ∫ w Re(T T′*) / √(∫ w |T|² ∫ w |T′|²) in [−1, 1]; NaN where nothing is transferred.

    With the object's power spectrum as weight it is the expected correlation coefficient of the two noise-free images.
    Source: the Fourier ring correlation (Saxton and Baumeister, J. Microsc. 127 (1982) 127), integrated over the band.
    """
    return product / (train[:, None] * test).sqrt()
