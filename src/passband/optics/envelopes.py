"""What damps the transfer: focal spread, convergence of the illumination, objective aperture.

The envelopes are the quasi-coherent (linear) approximation: Frank, Optik 38 (1973) 519; Wade and Frank, Optik 49 (1977) 81.
"""

import math

import torch
from torch import Tensor

from passband.optics.aberrations import aberration_gradient
from passband.optics.parameters import Parameters


def temporal_envelope(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return E_t = exp(−½ (π λ Δ |q|²)²), shape [B, *q], Δ the standard deviation of the focus.

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.
    """
    width = math.pi * parameters.wavelength * parameters.focal_spread_angstrom
    return torch.exp(-0.5 * (width.reshape(-1, *[1] * qx.ndim) * (qx**2 + qy**2)) ** 2)


def spatial_envelope(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return E_s = exp(−½ (α/λ)² |∇χ|²), shape [B, *q], α the standard deviation per axis of the illumination angle.

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.
    """
    width = 1e-3 * parameters.convergence_mrad / parameters.wavelength
    gradient = aberration_gradient(parameters, qx, qy)
    return torch.exp(-0.5 * width.reshape(-1, *[1] * qx.ndim) ** 2 * (gradient.real**2 + gradient.imag**2))


def motion_envelope(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return what vibration and drift leave of the intensity: exp(−2π² s² |q|²) sinc(q·d), shape [B, *q].

    It multiplies the spectrum of the intensity, not of the wave; a long drift reverses contrast where sinc is negative.

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.

    Source: Reimer and Kohl, Transmission Electron Microscopy (2008), section 6.5.
    """
    shape = (-1, *[1] * qx.ndim)
    blur = torch.exp(-2 * (math.pi * parameters.vibration_angstrom.reshape(shape)) ** 2 * (qx**2 + qy**2))
    dx, dy = (parameters.drift_angstrom[:, i].reshape(shape) for i in (0, 1))
    return blur * torch.sinc(qx * dx + qy * dy)


def aperture(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return the objective aperture A in [0, 1], shape [B, *q].

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.
        edge: width of the linear edge [1/Å], one frequency step for an image; 0 is a hard edge.
    """
    cutoff = (1e-3 * parameters.aperture_mrad / parameters.wavelength).reshape(-1, *[1] * qx.ndim)
    q = torch.hypot(qx, qy)
    if edge == 0:
        return (q <= cutoff).to(q.dtype)
    return ((cutoff - q) / edge + 0.5).clamp(0, 1)
