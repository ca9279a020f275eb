"""Grids of spatial frequencies q [1/Å], Cartesian for images and polar for integrals over a band."""

import math

import torch
from torch import Tensor


def disc_indices(radius: float) -> Tensor:
    """Return the integer frequencies k with |k| ≤ radius, a band [1/Å] times a field [Å]: [K, 2], int64, in a fixed order."""
    reach = math.floor(radius)
    k = torch.arange(-reach, reach + 1)
    kx, ky = torch.meshgrid(k, k, indexing="ij")
    # A band given as a decimal times a field should keep the frequencies that lie exactly on its rim.
    inside = kx**2 + ky**2 <= radius**2 * (1 + 1e-9)
    return torch.stack([kx[inside], ky[inside]], dim=1)


def polar_band(q_max: float, n_radial: int = 1024, n_azimuth: int = 128) -> tuple[Tensor, Tensor]:
    """Return nodes (qx, qy) [1/Å], each [n_radial, n_azimuth], that tile 0 < |q| ≤ q_max in equal areas.

    The mean of a function over the nodes is its mean over the disc (midpoint rule in |q|² and φ).
    """
    radius = q_max * torch.sqrt((torch.arange(n_radial, dtype=torch.float64) + 0.5) / n_radial)
    angle = 2 * math.pi * torch.arange(n_azimuth, dtype=torch.float64) / n_azimuth
    return radius[:, None] * torch.cos(angle), radius[:, None] * torch.sin(angle)
