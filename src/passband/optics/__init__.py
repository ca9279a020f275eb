"""Optics: aberration phase, coherence envelopes, wave transfer t(q) and intensity transfer T(q).

Functions take the `Parameters` of B conditions and spatial frequencies qx, qy [1/Å] of one shape q, and return shape [B, *q].
"""

from passband.optics.aberrations import aberration_gradient, aberration_phase
from passband.optics.camera import curve_at, electrons_per_pixel, noise_power
from passband.optics.parameters import Parameters, ProbeParameters, stack
from passband.optics.probe import detected_share, image_transfer, otf, probe, probe_transfer, pupil, quadrant_weight
from passband.optics.transfer import (
    aperture,
    contrast_sign,
    even_part,
    intensity_transfer,
    motion_envelope,
    spatial_envelope,
    temporal_envelope,
    wave_transfer,
)

__all__ = [
    "Parameters",
    "ProbeParameters",
    "aberration_gradient",
    "aberration_phase",
    "aperture",
    "contrast_sign",
    "curve_at",
    "detected_share",
    "electrons_per_pixel",
    "even_part",
    "image_transfer",
    "intensity_transfer",
    "motion_envelope",
    "noise_power",
    "otf",
    "probe",
    "probe_transfer",
    "pupil",
    "quadrant_weight",
    "spatial_envelope",
    "stack",
    "temporal_envelope",
    "wave_transfer",
]
