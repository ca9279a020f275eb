"""Transfer of the wave, t(q), what damps it (focal spread, convergence, aperture), and of the intensity of a weak phase object, T(q).

The envelopes are the quasi-coherent (linear) approximation: Frank, Optik 38 (1973) 519; Wade and Frank, Optik 49 (1977) 81.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from passband.conditions import ABERRATIONS
from passband.optics.aberrations import aberration_phase, gradient_parts
from passband.optics.parameters import Parameters

# exp(−80) is 2e-35: nothing, and yet no denormal number, which processors multiply a hundred times slower.
_NOTHING = 80.0


def temporal_envelope(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return E_t = exp(−½ (π λ Δ |q|²)²), shape [B, *q], Δ the standard deviation of the focus."""
    return torch.exp(-_temporal(parameters, qx, qy).clamp_max(_NOTHING))


def spatial_envelope(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return E_s = exp(−½ (α/λ)² |∇χ|²), shape [B, *q], α the standard deviation per axis of the illumination angle."""
    return torch.exp(-_spatial(parameters, qx, qy).clamp_max(_NOTHING))


def _temporal(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    width = math.pi * parameters.wavelength * parameters.focal_spread_angstrom
    return (0.5 * width**2).reshape(-1, *[1] * qx.ndim) * (qx**2 + qy**2) ** 2


def _spatial(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    width = 1e-3 * parameters.convergence_mrad / parameters.wavelength
    gx, gy = gradient_parts(parameters, qx, qy)
    return (0.5 * width**2).reshape(-1, *[1] * qx.ndim) * (gx * gx + gy * gy)


def motion_envelope(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return what vibration and drift leave of the intensity: exp(−2π² s² |q|²) sinc(q·d), shape [B, *q].

    It multiplies the spectrum of the intensity, not of the wave; a long drift reverses contrast where sinc is negative.
    Source: Reimer and Kohl, Transmission Electron Microscopy (2008), section 6.5.
    """
    shape = (-1, *[1] * qx.ndim)
    blur = torch.exp(-2 * (math.pi * parameters.vibration_angstrom.reshape(shape)) ** 2 * (qx**2 + qy**2))
    dx, dy = (parameters.drift_angstrom[:, i].reshape(shape) for i in (0, 1))
    return blur * torch.sinc(qx * dx + qy * dy)


def aperture(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return the objective aperture A in [0, 1], shape [B, *q].

    `edge` is the width of its linear edge [1/Å], one frequency step for an image; 0 is a hard edge.
    """
    cutoff = (1e-3 * parameters.aperture_mrad / parameters.wavelength).reshape(-1, *[1] * qx.ndim)
    q = torch.hypot(qx, qy)
    if edge == 0:
        return (q <= cutoff).to(q.dtype)
    return ((cutoff - q) / edge + 0.5).clamp(0, 1)


def wave_transfer(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return t = A exp(−iχ) E_t E_s, complex, shape [B, *q]; `edge` is the width of the aperture's edge [1/Å]."""
    chi = aberration_phase(parameters, qx, qy)
    # What no condition has costs nothing.
    exponents = []
    if parameters.focal_spread_angstrom.any():
        exponents.append(_temporal(parameters, qx, qy))
    if parameters.convergence_mrad.any():
        exponents.append(_spatial(parameters, qx, qy))
    damping = torch.exp(-torch.stack(exponents).sum(0).clamp_max(_NOTHING)) if exponents else torch.ones_like(chi)
    if parameters.aperture_mrad.isfinite().any():
        damping = damping * aperture(parameters, qx, qy, edge)
    return torch.polar(damping, -chi)


def intensity_transfer(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return T = (i/2) [t(q) − t*(−q)] · E_motion, complex, |T| ≤ 1, shape [B, *q].

    It is sin χ · A · E_t · E_s · E_motion where χ is even in q; an odd part of χ only turns its phase. `edge` as in
    `wave_transfer`. Source: Reimer and Kohl, Transmission Electron Microscopy (2008), section 6.4.
    """
    t, opposite = wave_transfer(parameters, qx, qy, edge), wave_transfer(parameters, -qx, -qy, edge).conj()
    transfer = 0.5j * (t - opposite)
    if parameters.vibration_angstrom.any() or parameters.drift_angstrom.any():
        return transfer * motion_envelope(parameters, qx, qy)
    return transfer


def contrast_sign(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return the sign of sin χ of the even aberrations: negative gives dark atoms, shape [B, *q]."""
    return torch.sign(torch.sin(aberration_phase(even_part(parameters), qx, qy)))


def even_part(parameters: Parameters) -> Parameters:
    """Return the conditions without odd aberrations (coma, trefoil), which turn the phase of T but reverse no contrast."""
    even = {s: c for s, c in parameters.coefficients.items() if ABERRATIONS[s][0] % 2}
    return replace(parameters, coefficients=even)
