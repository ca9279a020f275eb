"""Transfer of the wave, t(q), and of the intensity of a weak phase object, T(q)."""

from dataclasses import replace

import torch
from torch import Tensor

from passband.conditions import ABERRATIONS
from passband.optics.aberrations import aberration_phase
from passband.optics.envelopes import aperture, coherence_envelope, motion_envelope
from passband.optics.parameters import Parameters


def wave_transfer(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return t = A exp(−iχ) E_t E_s, complex, shape [B, *q]; `edge` is the width of the aperture's edge [1/Å]."""
    chi = aberration_phase(parameters, qx, qy)
    # What no condition has costs nothing.
    envelope = coherence_envelope(parameters, qx, qy)
    damping = torch.ones_like(chi) if envelope is None else envelope
    if parameters.aperture_mrad.isfinite().any():
        damping = damping * aperture(parameters, qx, qy, edge)
    return torch.polar(damping, -chi)


def intensity_transfer(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return T = (i/2) [t(q) − t*(−q)] · E_motion, complex, |T| ≤ 1, shape [B, *q].

    It is sin χ · A · E_t · E_s · E_motion where χ is even in q; an odd part of χ only turns its phase. `edge` as in
    `wave_transfer`. Source: Reimer and Kohl, Transmission Electron Microscopy (2008), section 6.4.
    """
    t = wave_transfer(parameters, qx, qy, edge)
    return _moved(0.5j * (t - _opposite(parameters, qx, qy, edge)), parameters, qx, qy)


def amplitude_transfer(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float = 0.0) -> Tensor:
    """Return ½ [t(q) + t*(−q)] · E_motion, shape [B, *q], of a weakly absorbing object: cos χ where χ is even."""
    t = wave_transfer(parameters, qx, qy, edge)
    return _moved(0.5 * (t + _opposite(parameters, qx, qy, edge)), parameters, qx, qy)


def contrast_sign(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return the sign of sin χ of the even aberrations: negative gives dark atoms, shape [B, *q]."""
    return torch.sign(torch.sin(aberration_phase(even_part(parameters), qx, qy)))


def even_part(parameters: Parameters) -> Parameters:
    """Return the conditions without odd aberrations (coma, trefoil), which turn the phase of T but reverse no contrast."""
    even = {s: c for s, c in parameters.coefficients.items() if ABERRATIONS[s][0] % 2}
    return replace(parameters, coefficients=even)


def _opposite(parameters: Parameters, qx: Tensor, qy: Tensor, edge: float) -> Tensor:
    return wave_transfer(parameters, -qx, -qy, edge).conj()


def _moved(transfer: Tensor, parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    if parameters.vibration_angstrom.any() or parameters.drift_angstrom.any():
        return transfer * motion_envelope(parameters, qx, qy)
    return transfer
