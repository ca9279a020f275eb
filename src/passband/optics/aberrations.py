"""The aberration phase χ(q) and its gradient, to fifth order, batched over conditions.

χ(q, φ) = (2π/λ) Σ_nm 1/(n+1) (λ|q|)^(n+1) C_nm cos(m (φ − φ_nm)), Krivanek et al., Ultramicroscopy 78 (1999) 1.

Written with ω = λ (qx + i qy): |ω|^(n+1) cos(m(φ − φ_nm)) = Re[exp(−i m φ_nm) ω^m] |ω|^2b, b = (n + 1 − m) / 2.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from passband.conditions import ABERRATIONS
from passband.optics.parameters import Parameters


def aberration_phase(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return χ [rad], shape [B, *q].

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.
    """
    omega = _angle(parameters, qx, qy)
    square = omega.real**2 + omega.imag**2
    chi = torch.zeros_like(square)
    for c, m, b in _terms(parameters, qx.ndim):
        chi = chi + (c * _power(omega, m)).real * _power(square, b)
    return chi * _column(2 * math.pi / parameters.wavelength, qx.ndim)


def aberration_gradient(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return ∇_q χ as ∂χ/∂qx + i ∂χ/∂qy [rad·Å], complex, shape [B, *q]. |∇χ|/2π is the delocalisation [Å].

    Args:
        parameters: B conditions.
        qx: spatial frequency along x [1/Å], any shape q.
        qy: spatial frequency along y [1/Å], the same shape.
    """
    omega = _angle(parameters, qx, qy)
    square = omega.real**2 + omega.imag**2
    gradient = torch.zeros_like(omega)
    for c, m, b in _terms(parameters, qx.ndim):
        # ∂x + i∂y = 2 ∂/∂ω̄ of Re[c ω^(m+b) ω̄^b].
        if m > 0:
            gradient = gradient + (m + b) * c.conj() * _power(omega.conj(), m - 1) * _power(square, b)
            if b > 0:
                gradient = gradient + b * c * _power(omega, m + 1) * _power(square, b - 1)
        else:
            gradient = gradient + 2 * b * c * omega * _power(square, b - 1)
    return 2 * math.pi * gradient


def _column(values: Tensor, q_dims: int) -> Tensor:
    return values.reshape(-1, *[1] * q_dims)


def _angle(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    return _column(parameters.wavelength, qx.ndim) * torch.complex(qx, qy)


def _power(base: Tensor, exponent: int) -> Tensor:
    # Complex torch.pow goes through logarithms: slower, and its gradient at q = 0 is not a number.
    result = torch.ones_like(base)
    for _ in range(exponent):
        result = result * base
    return result


def _terms(parameters: Parameters, q_dims: int) -> Iterator[tuple[Tensor, int, int]]:
    """Yield (complex C_nm exp(−i m φ_nm) / (n + 1), m, b) with b = (n + 1 − m) / 2."""
    for symbol, magnitude in parameters.coefficients.items():
        n, m = ABERRATIONS[symbol]
        angle = parameters.angles.get(symbol, torch.zeros_like(magnitude))
        c = torch.polar(torch.ones_like(angle), -m * angle) * magnitude / (n + 1)
        yield _column(c, q_dims), m, (n + 1 - m) // 2
