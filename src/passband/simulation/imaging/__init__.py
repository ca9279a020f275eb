"""Imaging: exit wave × condition → expected intensity → dose → network input."""

from passband.simulation.imaging.camera import bin_pixels, camera_on_grid, curve_at, electrons_per_pixel, record
from passband.simulation.imaging.form_image import (
    ImageGrid,
    band_warning,
    check_aperture,
    expected_intensity,
    image_grid,
    pixels_across,
    transfer_on_grid,
)
from passband.simulation.imaging.normalize import normalize

__all__ = [
    "ImageGrid",
    "band_warning",
    "bin_pixels",
    "camera_on_grid",
    "check_aperture",
    "curve_at",
    "electrons_per_pixel",
    "expected_intensity",
    "image_grid",
    "normalize",
    "pixels_across",
    "record",
    "transfer_on_grid",
]
