"""Statistics of images that know nothing of optics: the generic measure that CTF metrics have to beat."""

import torch
from torch import Tensor


def radial_power(images: Tensor, bins: int = 32) -> Tensor:
    """Return the mean power over rings of equal width up to Nyquist, shape [N, bins].

    Args:
        images: shape [N, n, n].
        bins: number of rings.
    """
    n = images.shape[-1]
    power = torch.fft.fft2(images, norm="ortho").abs().square()
    k = torch.fft.fftfreq(n, 1 / n)
    radius = torch.hypot(k[:, None], k[None, :])
    ring = (radius / (n / 2) * bins).long()
    inside = (ring < bins) & (radius > 0)
    sizes = torch.bincount(ring[inside], minlength=bins).clamp_min(1)
    return power.new_zeros(len(images), bins).index_add_(1, ring[inside], power[:, inside]) / sizes
