"""Imaging: exit wave × condition → expected intensity → dose → network input."""

from passband.imaging.dose import apply_dose
from passband.imaging.form_image import (
    ImageGrid,
    band_warning,
    check_aperture,
    expected_intensity,
    image_grid,
    transfer_on_grid,
)
from passband.imaging.normalize import normalize

__all__ = [
    "ImageGrid",
    "apply_dose",
    "band_warning",
    "check_aperture",
    "expected_intensity",
    "image_grid",
    "normalize",
    "transfer_on_grid",
]
