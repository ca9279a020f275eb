"""Transfer of the wave, t(q), and of the intensity of a weak phase object, T(q)."""

import torch
from torch import Tensor

from passband.optics.aberrations import aberration_phase
from passband.optics.envelopes import aperture, spatial_envelope, temporal_envelope
from passband.optics.parameters import Parameters


def wave_transfer(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return t = A exp(−iχ) E_t E_s, complex, shape [B, *q].

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.
        edge: width of the aperture's edge [1/Å]; 0 is a hard edge.
    """
    damping = (
        aperture(parameters, qx, qy, edge)
        * temporal_envelope(parameters, qx, qy)
        * spatial_envelope(parameters, qx, qy)
    )
    return torch.polar(damping, -aberration_phase(parameters, qx, qy))


def intensity_transfer(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return T = (i/2) [t(q) − t*(−q)], complex, |T| ≤ 1, shape [B, *q].

    It is sin χ · A · E_t · E_s where χ is even in q; an odd part of χ only turns its phase.

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.
        edge: width of the aperture's edge [1/Å]; 0 is a hard edge.

    Source: Reimer and Kohl, Transmission Electron Microscopy (2008), section 6.4.
    """
    return 0.5j * (wave_transfer(parameters, qx, qy, edge) - wave_transfer(parameters, -qx, -qy, edge).conj())
