"""The stored band of an exit wave."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from passband.base.errors import BadInputError
from passband.simulation.multislice.config import ExitWaveConfig

# Share of the beam beyond the band limit from which a wave is refused.
_LOST = 0.05


@dataclass(frozen=True)
class ExitWave:
    """The stored band of a specimen's exit wave, for each frozen-phonon configuration.

    Attributes:
        coefficients: ψ̂(k) with ψ(r) = Σ_k ψ̂(k) exp(2πi k·r / field), complex64, shape [P, K], k as in
            `frequencies.disc_indices(band · field)`; vacuum is 1 at k = 0.
        lost_intensity: share of the beam that left the multislice's band limit.
        dropped_intensity: share of the beam beyond the stored band.
    """

    coefficients: np.ndarray
    lost_intensity: float
    dropped_intensity: float


def keep_band(spectrum: Tensor, k: Tensor, config: ExitWaveConfig) -> ExitWave:
    """Return the stored band of a specimen's spectra and the shares of the beam outside it.

    Args:
        spectrum: complex, shape [P, n, n], vacuum = 1 at k = 0, on any device; only the band is copied from it.
        k: integer frequencies to store, shape [K, 2].
        config: multislice settings.

    Raises:
        BadInputError: if more than 5 % of the beam was scattered beyond the band limit.
    """
    n = spectrum.shape[-1]
    intensity = (spectrum.real.double() ** 2 + spectrum.imag.double() ** 2).sum((1, 2)).mean().item()
    lost = 1 - intensity
    if lost > _LOST:
        raise BadInputError(
            f"{lost:.1%} of the beam is scattered beyond the band limit, more than 5 %; lower exit_waves.sampling_angstrom from {config.sampling_angstrom:g}"
        )
    k = k.to(spectrum.device)
    coefficients = spectrum[:, k[:, 0] % n, k[:, 1] % n]
    stored = (coefficients.real.double() ** 2 + coefficients.imag.double() ** 2).sum(1).mean().item()
    return ExitWave(coefficients.to(torch.complex64).cpu().numpy(), lost, intensity - stored)
