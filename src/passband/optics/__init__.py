"""Optics: aberration phase, coherence envelopes, wave transfer t(q) and intensity transfer T(q)."""

from passband.optics.aberrations import aberration_gradient, aberration_phase
from passband.optics.envelopes import aperture, motion_envelope, spatial_envelope, temporal_envelope
from passband.optics.parameters import Parameters, stack
from passband.optics.transfer import amplitude_transfer, contrast_sign, intensity_transfer, wave_transfer

__all__ = [
    "Parameters",
    "aberration_gradient",
    "aberration_phase",
    "amplitude_transfer",
    "aperture",
    "contrast_sign",
    "intensity_transfer",
    "motion_envelope",
    "spatial_envelope",
    "stack",
    "temporal_envelope",
    "wave_transfer",
]
