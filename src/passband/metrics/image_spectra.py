"""Generic distances between sets of images, from their radial power spectra: no optics needed.

Each function takes the log power over rings of N images of each of B sets, shape [B, N, bins], and returns shape [B, B].
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


def maximum_mean_discrepancy(spectra: Tensor) -> Tensor:
    """Return the squared MMD between every two sets, Gaussian kernel of median width, unbiased.

    Source: Gretton et al., J. Mach. Learn. Res. 13 (2012) 723, eq. 3.
    """
    sets, n, _ = spectra.shape
    distance = torch.cdist(spectra.flatten(0, 1), spectra.flatten(0, 1))
    kernel = torch.exp(-0.5 * (distance / distance.median().clamp_min(1e-12)) ** 2)
    blocks = kernel.reshape(sets, n, sets, n).sum((1, 3))
    own = (blocks.diagonal() - n) / (n * (n - 1))
    result = own[:, None] + own - 2 * blocks / n**2
    return result.fill_diagonal_(0.0)


def sliced_wasserstein(spectra: Tensor, *, projections: int = 256, seed: int = 0) -> Tensor:
    """Return the mean 1-Wasserstein distance over random directions between every two sets.

    Source: Bonneel et al., J. Math. Imaging Vis. 51 (2015) 22.
    """
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(spectra.shape[-1], projections, generator=generator, dtype=spectra.dtype)
    shadows = (spectra @ (directions / directions.norm(dim=0))).sort(1).values.flatten(1)
    return torch.cdist(shadows, shadows, p=1.0) / shadows.shape[1]


def spectrum_divergence(spectra: Tensor) -> Tensor:
    """Return the Kullback–Leibler divergence D(test ‖ train) of the mean spectra as distributions [nats]."""
    # A ring holds as many frequencies as its radius.
    area = torch.arange(spectra.shape[-1], dtype=spectra.dtype) + 0.5
    share = spectra.exp().mean(1) * area
    share = share / share.sum(1, keepdim=True)
    return ((share * share.log()).sum(1)[:, None] - share @ share.log().T).T


def spectrum_distance(spectra: Tensor) -> Tensor:
    """Return the rms difference of the sets' log mean spectra."""
    mean = spectra.exp().mean(1).log()
    return torch.cdist(mean, mean) / mean.shape[1] ** 0.5


class ImageMeasure(NamedTuple):
    """A distance between sets of images: its symbol, and the function of this module that computes it."""

    symbol: str
    compute: Callable[[Tensor], Tensor]


#: The distances between the conditions' images, by column of the table of pairs.
IMAGE_MEASURES = {
    "spectrum_distance": ImageMeasure("power spectra, rms", spectrum_distance),
    "mmd": ImageMeasure("power spectra, MMD", maximum_mean_discrepancy),
    "sliced_wasserstein": ImageMeasure("power spectra, sliced Wasserstein", sliced_wasserstein),
    "spectrum_divergence": ImageMeasure("power spectra, KL", spectrum_divergence),
}
