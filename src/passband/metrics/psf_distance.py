"""Distance of the point-spread functions."""

import torch
from torch import Tensor

from passband.optics import Parameters, wave_transfer

_BLOCK = 128


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
