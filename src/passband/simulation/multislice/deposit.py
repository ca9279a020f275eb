"""Atoms between grid points, put on the grid so that their structure factor is exact over the band.

The type-1 non-uniform Fourier transform of Barnett, Magland and af Klinteberg, SIAM J. Sci. Comput. 41 (2019) C479: each
atom is spread by exp(β(√(1 − x²) − 1)) over 7 × 7 points, and the spectrum is divided by the kernel's. The band ends at
two thirds of Nyquist, which leaves an oversampling of 1.5; the structure factor is then right to about 1e-4 of one atom's.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Points along a side that an atom is spread over.
_WIDTH = 7
# Best of a scan for an oversampling of 1.5; Barnett (2019), eq. 4.5, has 0.98 for 2.
_BETA = 0.95 * math.pi * _WIDTH * (1 - 1 / 3)


@dataclass(frozen=True)
class Spread:
    """Atoms spread along each axis of a periodic grid of n points: points and weights, both of shape [2, 7, N]."""

    n: int
    points: Tensor
    weights: Tensor

    @classmethod
    def of(cls, places: Tensor, n: int, dtype: torch.dtype) -> "Spread":
        """Spread atoms at positions in points of the grid, float64, [2, N]."""
        first = torch.ceil(places.contiguous() - _WIDTH / 2)
        offsets = torch.arange(_WIDTH, device=places.device)[:, None]
        points = (first.long()[:, None] + offsets) % n
        return cls(n, points, _kernel((first - places).to(dtype)[:, None] + offsets))

    def density(self, begin: int, end: int, planes: Tensor, count: int) -> Tensor:
        """Return atoms begin to end − 1 on `count` planes, shape [count, n, n]: transposed, the second axis before the first.

        `planes` says which plane each of all atoms belongs to, shape [N].
        """
        n, part = self.n, slice(begin, end)
        points = (self.points[1, :, part] * n)[:, None] + (self.points[0, :, part] + planes[part] * n**2)
        weights = self.weights[1, :, None, part] * self.weights[0, :, part]
        result = torch.zeros(count * n**2, dtype=weights.dtype, device=weights.device)
        return result.index_add_(0, points.view(-1), weights.view(-1)).view(count, n, n)


@functools.lru_cache(maxsize=8)
def spectrum(n: int) -> np.ndarray:
    """Return the kernel's Fourier transform at the integer frequencies of a grid of n points, shape [n]."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    u = nodes * _WIDTH / 2
    kernel = _kernel(torch.from_numpy(u)).numpy()
    return np.cos(2 * math.pi * np.fft.fftfreq(n, 1 / n)[:, None] * u / n) @ (kernel * weights * _WIDTH / 2)


def _kernel(u: Tensor) -> Tensor:
    inside = (1 - (u * 2 / _WIDTH) ** 2).clamp_min(0)
    return torch.exp(_BETA * (inside.sqrt() - 1))
