"""Statistics of images and waves without optics: the baseline for CTF metrics."""

import torch
from torch import Tensor


def wave_power(waves: Tensor, frequencies: Tensor, field_angstrom: float, bins: int = 150) -> tuple[Tensor, Tensor]:
    """Return |q| [1/Å] of rings and the mean power spectral density there [Å²], without the undiffracted beam.

    The waves' coefficients, vacuum = 1, have shape [B, P, K], their integer frequencies [K, 2].
    """
    q = frequencies.double().norm(dim=1) / field_angstrom
    power = (waves.real**2 + waves.imag**2).double().mean((0, 1)) * field_angstrom**2
    width = float(q.max()) * (1 + 1e-9) / bins
    ring = (q / width).long()
    scattered = q > 0
    sizes = torch.bincount(ring[scattered], minlength=bins)
    sums = power.new_zeros(bins).index_add_(0, ring[scattered], power[scattered])
    filled = sizes > 0
    return ((torch.arange(bins) + 0.5) * width)[filled].double(), sums[filled] / sizes[filled]


def radial_power(images: Tensor, bins: int = 32) -> Tensor:
    """Return the mean power of images [N, n, n] over rings of equal width up to Nyquist, shape [N, bins]."""
    n = images.shape[-1]
    power = torch.fft.fft2(images, norm="ortho").abs().square()
    k = torch.fft.fftfreq(n, 1 / n)
    radius = torch.hypot(k[:, None], k[None, :])
    ring = (radius / (n / 2) * bins).long()
    inside = (ring < bins) & (radius > 0)
    sizes = torch.bincount(ring[inside], minlength=bins).clamp_min(1)
    return power.new_zeros(len(images), bins).index_add_(1, ring[inside], power[:, inside]) / sizes
