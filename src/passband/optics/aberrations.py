"""The aberration phase χ(q) and its gradient, to fifth order, batched over conditions.

χ(q, φ) = (2π/λ) Σ_nm 1/(n+1) (λ|q|)^(n+1) C_nm cos(m (φ − φ_nm)), Krivanek et al., Ultramicroscopy 78 (1999) 1.

Every term is a number that depends on the condition times a polynomial in q: with u = qx + i qy,
|u|^(n+1) cos(m(φ − φ_nm)) = Re[exp(−i m φ_nm) u^m] |u|^2b, b = (n + 1 − m) / 2. The polynomials are made once and
all conditions follow from one matrix product.
"""

import math

import torch
from torch import Tensor

from passband.conditions import ABERRATIONS
from passband.optics.parameters import Parameters


def aberration_phase(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return χ [rad], shape [B, *q], at spatial frequencies qx, qy [1/Å] of any shape q."""
    powers, polynomials = _Powers(qx, qy), []
    for symbol in parameters.coefficients:
        n, m = ABERRATIONS[symbol]
        real, imaginary = powers.monomial(m, (n + 1 - m) // 2)
        polynomials += [real] if m == 0 else [real, imaginary]
    return _weighted(parameters, polynomials, qx)


def aberration_gradient(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return ∇χ as ∂χ/∂qx + i ∂χ/∂qy [rad·Å], complex, shape [B, *q]; |∇χ|/2π is the delocalisation [Å]."""
    return torch.complex(*gradient_parts(parameters, qx, qy))


def gradient_parts(parameters: Parameters, qx: Tensor, qy: Tensor) -> tuple[Tensor, Tensor]:
    """Return ∂χ/∂qx and ∂χ/∂qy [rad·Å], shape [B, *q] each."""
    powers, along_x, along_y = _Powers(qx, qy), [], []
    for symbol in parameters.coefficients:
        n, m = ABERRATIONS[symbol]
        b = (n + 1 - m) // 2
        # d(u^m |u|^2b) = m u^(m−1) |u|^2b du + u^m b |u|^2(b−1) d|u|².
        steps = [0 * qx] * 4
        if m > 0:
            real, imaginary = powers.monomial(m - 1, b)
            steps = [m * real, m * imaginary, -m * imaginary, m * real]
        if b > 0:
            real, imaginary = powers.monomial(m, b - 1)
            ring = [2 * b * qx * real, 2 * b * qx * imaginary, 2 * b * qy * real, 2 * b * qy * imaginary]
            steps = [a + c for a, c in zip(steps, ring, strict=True)]
        along_x += steps[:1] if m == 0 else steps[:2]
        along_y += steps[2:3] if m == 0 else steps[2:]
    return _weighted(parameters, along_x, qx), _weighted(parameters, along_y, qx)


class _Powers:
    """u^m |u|^2b on a grid, each power made once."""

    def __init__(self, qx: Tensor, qy: Tensor):
        self._u = qx, qy
        self._power: list[tuple[Tensor, Tensor]] = [(torch.ones_like(qx), torch.zeros_like(qx))]
        self._square = [torch.ones_like(qx)]

    def monomial(self, m: int, b: int) -> tuple[Tensor, Tensor]:
        x, y = self._u
        while len(self._power) <= m:
            real, imaginary = self._power[-1]
            self._power.append((real * x - imaginary * y, real * y + imaginary * x))
        while len(self._square) <= b:
            self._square.append(self._square[-1] * (x * x + y * y))
        real, imaginary = self._power[m]
        return real * self._square[b], imaginary * self._square[b]


def _weighted(parameters: Parameters, polynomials: list[Tensor], qx: Tensor) -> Tensor:
    """Return the sum of polynomials, shape [B, *q], each times 2π λⁿ C_nm / (n + 1), and cos or sin of m φ_nm."""
    if not polynomials:
        return qx.new_zeros((len(parameters), *qx.shape))
    weights = []
    for symbol, magnitude in parameters.coefficients.items():
        n, m = ABERRATIONS[symbol]
        weight = 2 * math.pi / (n + 1) * parameters.wavelength**n * magnitude
        if m == 0:
            weights.append(weight)
        else:
            angle = m * parameters.angles.get(symbol, torch.zeros_like(magnitude))
            weights += [weight * torch.cos(angle), weight * torch.sin(angle)]
    return (torch.stack(weights, 1) @ torch.stack(polynomials).flatten(1)).reshape(-1, *qx.shape)
