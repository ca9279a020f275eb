"""Metrics that are no sum over the band, shape [B, B′]: baselines without any contrast transfer, and point-spread functions."""

import torch
from torch import Tensor

from passband.conditions import ABERRATIONS
from passband.optics import Parameters, wave_transfer

_BLOCK = 128


def defocus_difference(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return |defocus′ − defocus| [Å]."""
    a, b = (p.coefficients.get("C10", 0 * p.energy_ev) for p in (train, test))
    return (a[:, None] - b).abs()


def dose_difference(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return ln(dose′ / dose), test over train; no shot noise counts as 1e9 e/Å²."""
    a, b = (p.finite_dose.log() for p in (train, test))
    return b - a[:, None]


def coefficient_distance(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return the Euclidean distance of the conditions' values, each in units of its spread over all of them.

    The values: Cartesian aberration coefficients, energy, focal spread, convergence and log dose; those that vary count.
    """
    symbols = [s for s in ABERRATIONS if s in train.coefficients or s in test.coefficients]
    a, b = _values(train, symbols), _values(test, symbols)
    spread = torch.cat([a, b]).std(0, correction=0)
    scale = torch.where(spread > 1e-9 * torch.cat([a, b]).abs().amax(0).clamp_min(1e-30), spread, torch.inf)
    return torch.cdist(a / scale, b / scale)


def psf_distance(train: Parameters, test: Parameters, q_max: float, n: int = 128) -> Tensor:
    """Return ½ ∫ |p − p′| d²r in [0, 1], p = |F⁻¹[t]|² normalised to 1, shape [B, B′]: the total variation distance.

    t counts within q_max [1/Å]; n samples along a side, 1/(4 q_max) apart, do not alias |F⁻¹[t]|².
    """
    step = 4 * q_max / n
    k = torch.fft.fftfreq(n, 1 / n, dtype=train.energy_ev.dtype) * step
    qx, qy = torch.meshgrid(k, k, indexing="ij")
    inside = torch.hypot(qx, qy) <= q_max

    def spread(parameters: Parameters) -> Tensor:
        psi = torch.fft.ifft2(wave_transfer(parameters, qx, qy) * inside)
        intensity = (psi.real**2 + psi.imag**2).flatten(1)
        return intensity / intensity.sum(1, keepdim=True)

    tests = [spread(part) for part in test.split(_BLOCK)]
    return torch.cat(
        [torch.cat([0.5 * torch.cdist(a, b, p=1.0) for b in tests], 1) for a in map(spread, train.split(_BLOCK))]
    )


def _values(parameters: Parameters, symbols: list[str]) -> Tensor:
    columns = [parameters.energy_ev, parameters.focal_spread_angstrom, parameters.convergence_mrad]
    columns.append(parameters.finite_dose.log())
    zero = 0 * parameters.energy_ev
    for symbol in symbols:
        magnitude = parameters.coefficients.get(symbol, zero)
        angle = ABERRATIONS[symbol][1] * parameters.angles.get(symbol, zero)
        columns += [magnitude * torch.cos(angle), magnitude * torch.sin(angle)]
    return torch.stack(columns, 1)
