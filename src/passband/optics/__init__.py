"""Optics: aberration phase, coherence envelopes, wave transfer t(q) and intensity transfer T(q)."""

from passband.optics.aberrations import aberration_gradient, aberration_phase
from passband.optics.envelopes import aperture, spatial_envelope, temporal_envelope
from passband.optics.parameters import Parameters, stack
from passband.optics.transfer import intensity_transfer, wave_transfer

__all__ = [
    "Parameters",
    "aberration_gradient",
    "aberration_phase",
    "aperture",
    "intensity_transfer",
    "spatial_envelope",
    "stack",
    "temporal_envelope",
    "wave_transfer",
]
