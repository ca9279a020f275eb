"""What a condition transfers of a band (ε), and what another shares of it: overlaps (σ), also of noisy images, and correlations."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from passband.metrics.band import View

# Rows and frequencies of distances that are computed at once.
_ROWS, _FREQUENCIES = 32, 4096


def magnitude(view: View, power: int = 1) -> Tensor:
    """Return w |T|^p, shape [B, N]."""
    return view.magnitude**power * view.band.weight


def gain(view: View) -> Tensor:
    """Return w S/(1 + S), shape [B, N]: the gain of the Wiener filter, in [0, 1].

    Source: Unser, Trus and Steven, Ultramicroscopy 23 (1987) 39, for the spectral signal-to-noise ratio S.
    """
    return view.snr / (1 + view.snr) * view.band.weight


def bits(view: View) -> Tensor:
    """Return ½ log₂(1 + S), shape [B, N]; its mean over the band times π q_max² is bits per Å² of the image.

    Each frequency is a Gaussian channel between object and image. Source: Shannon, Proc. IRE 37 (1949) 10.
    """
    return 0.5 * torch.log1p(view.snr) / math.log(2)


def information_sums(view: View, of: Callable[[View], Tensor]) -> tuple[Tensor, ...]:
    """Return Σ of a quantity x, shape [B]; of w |T|^p, divided by the number of nodes, it is ε = ∫ w |T|^p d²q / ∫ w d²q in [0, 1].

    Source: the relative information transferred of arXiv:2512.09067, in the form |T|^p.
    """
    return (of(view).sum(1),)


def sums(train: View, test: View, of: Callable[[View], Tensor]) -> tuple[Tensor, ...]:
    """Return Σ min(x, x′) [B, B′] and Σ x [B] of a quantity x.

    Source: the asymmetric overlap of arXiv:2512.09067, in the form min(|T|, |T′|).
    """
    a = of(train)
    return shared(a, a if test is train else of(test)), a.sum(1)


def signed_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w s s′ min(|T|, |T′|) [B, B′] and Σ w |T| [B]; s is the sign of sin χ of the even aberrations.

    Odd aberrations (coma, trefoil) change the phase of T, but do not reverse contrast by themselves.
    """
    a, b = (view.signed * view.band.weight for view in (train, test))
    up, down = a.clamp_min(0), (-a).clamp_min(0)
    if test is train:
        reversed_ = shared(up, down)
        return shared(up, up) + shared(down, down) - reversed_ - reversed_.T, a.abs().sum(1)
    up_b, down_b = b.clamp_min(0), (-b).clamp_min(0)
    same = shared(up, up_b) + shared(down, down_b)
    return same - shared(up, down_b) - shared(down, up_b), a.abs().sum(1)


def product_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w |T||T′| [B, B′], Σ w |T|² [B] and Σ w |T′|² [B′]."""
    a, b, w = train.magnitude, test.magnitude, train.band.weight
    return (a * w) @ b.T, (a**2 * w).sum(1), (b**2 * w).sum(1)


def shared(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ min(a, b) of every pair of rows, [B, N] and [B′, N] → [B, B′]: (Σa + Σb − Σ|a − b|) / 2."""
    # Rounding must not give a negative share.
    return (0.5 * (a.sum(1)[:, None] + b.sum(1) - _distance(a, b))).clamp_min(0)


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ|a − b| of every pair of rows; those of a with itself are computed once."""
    if a.requires_grad or b.requires_grad or a.is_cuda:
        return torch.cdist(a, b, p=1.0)
    # On a CPU SciPy takes half the time of PyTorch, and less where both blocks stay in the cache.
    from scipy.spatial.distance import cdist

    result, itself = np.zeros((len(a), len(b))), b is a
    for at in range(0, a.shape[1], _FREQUENCIES):
        x, y = (t[:, at : at + _FREQUENCIES].numpy() for t in (a, b))
        for row in range(0, len(a), _ROWS):
            first = row if itself else 0
            result[row : row + _ROWS, first:] += cdist(x[row : row + _ROWS], y[first:], "cityblock")
    if itself:
        result = np.triu(result) + np.triu(result, 1).T
    return torch.from_numpy(result).to(a.dtype)


def finish(shared: Tensor, total: Tensor) -> Tensor:
    """Return σ(χ, χ′) in [0, 1], asymmetric; NaN where the training condition transfers nothing."""
    # Rounding leaves a share of nothing.
    return shared / torch.where(total > 0, total, torch.nan)[:, None]


def product_finish(product: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return ∫ w |T||T′| / ∫ w |T|², asymmetric, 1 for equal conditions; NaN where nothing is transferred."""
    return product / train[:, None]


def correlation_sums(train: View, test: View) -> tuple[Tensor, ...]:
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


def cosine(product: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return ∫ w a b / √(∫ w a² ∫ w b²) in [−1, 1], symmetric; NaN where nothing is transferred."""
    return product / (train[:, None] * test).sqrt()


def wave_finish(real: Tensor, imaginary: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return |∫ w t t′*| / √(∫ w |t|² ∫ w |t′|²) in [0, 1], the fidelity of the two image waves of a point."""
    return cosine(torch.hypot(real, imaginary), train, test)


def snr_sums(view: View) -> tuple[Tensor, ...]:
    """Return Σ w S [B] and Σ w: the power of the image's signal over that of its noise."""
    return (view.snr * view.band.weight).sum(1), view.band.weight.sum()


def snr_finish(power: Tensor, total: Tensor) -> Tensor:
    """Return ln ⟨S⟩ over the band: what is left of the dose once the image is normalised to unit variance."""
    return (power / total).clamp_min(1e-12).log()
