"""Statistics of images that know nothing of optics: the generic measure that CTF metrics have to beat."""

import torch
from torch import Tensor


def radial_log_spectrum(images: Tensor, bins: int = 32) -> Tensor:
    """Return the mean log power spectrum over rings of equal width up to Nyquist, shape [bins].

    Args:
        images: shape [N, n, n].
        bins: number of rings.
    """
    n = images.shape[-1]
    power = torch.fft.fft2(images, norm="ortho").abs().square().mean(0)
    k = torch.fft.fftfreq(n, 1 / n)
    ring = (torch.hypot(k[:, None], k[None, :]) / (n / 2) * bins).long()
    inside = (ring < bins) & (torch.hypot(k[:, None], k[None, :]) > 0)
    sums = torch.zeros(bins, dtype=power.dtype).scatter_add_(0, ring[inside], power[inside])
    sizes = torch.zeros(bins, dtype=power.dtype).scatter_add_(0, ring[inside], torch.ones_like(power[inside]))
    return torch.log((sums / sizes.clamp_min(1)).clamp_min(1e-12))
