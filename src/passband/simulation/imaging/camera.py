"""The camera and the motion of the specimen: what happens to the intensity after the objective lens."""

import math

import numpy as np
import torch
from torch import Tensor

from passband.conditions import Condition
from passband.conditions.detector import Curve
from passband.optics import motion_envelope, stack
from passband.simulation.imaging.form_image import ImageGrid


def camera_on_grid(condition: Condition, grid: ImageGrid, orientation: Tensor | None = None) -> Tensor | None:
    """Return what multiplies the half spectrum of the intensity: MTF · motion, float32, shape [n, n // 2 + 1].

    n are the physical pixels. None for an ideal camera and a specimen at rest. With an orientation, shape [2, 2], the
    drift is taken at orientation · q.
    """
    if condition.detector.mtf is None and condition.vibration_angstrom == 0 and condition.drift_angstrom == 0:
        return None
    kx, ky = _half_spectrum(grid.physical)
    q = torch.stack([kx, ky], -1) / grid.field_angstrom
    if orientation is not None:
        q = q @ orientation.to(torch.float64).T
    factor = motion_envelope(stack([condition]), q[..., 0], q[..., 1])[0]
    if condition.detector.mtf is not None:
        factor = factor * curve_at(condition.detector.mtf, torch.hypot(kx, ky) / (grid.physical / 2))
    return factor.float()


def record(intensity: Tensor, condition: Condition, *, generator: torch.Generator) -> Tensor:
    """Return electron counts of camera pixels, shape [B, n / binning, n / binning]; without a dose, the mean intensity.

    Physical pixels, [B, n, n], count Poisson numbers with mean intensity · dose · pixel area · DQE(0); none where the
    ideal camera's band limit leaves the intensity below zero. A measured DQE shapes their noise by √NNPS, NNPS = DQE(0)
    MTF² / DQE (McMullan et al., Ultramicroscopy 109 (2009) 1126), after which counts are no longer whole numbers. Then
    pixels are summed.
    """
    detector, binning = condition.detector, condition.detector.binning
    if condition.dose_per_angstrom2 is None:
        return bin_pixels(intensity, binning) / binning**2
    curve = detector.dqe if isinstance(detector.dqe, list) else None
    mean = (intensity * electrons_per_pixel(condition)).clamp_min(0)
    counts = torch.poisson(mean, generator=generator)
    if curve is not None:
        n = intensity.shape[-1]
        kx, ky = _half_spectrum(n)
        fraction = torch.hypot(kx, ky) / (n / 2)
        mtf = torch.ones_like(fraction) if detector.mtf is None else curve_at(detector.mtf, fraction)
        shape = (detector.counted * mtf**2 / curve_at(curve, fraction)).sqrt().float().to(intensity.device)
        counts = mean + torch.fft.irfft2(torch.fft.rfft2(counts - mean) * shape, s=(n, n))
    return bin_pixels(counts, binning)


def electrons_per_pixel(condition: Condition) -> float:
    """Return the electrons that a physical pixel counts in vacuum, on average; the condition has a dose."""
    detector = condition.detector
    area = (condition.pixel_size_angstrom / detector.binning) ** 2
    return (condition.dose_per_angstrom2 or 0.0) * area * detector.counted


def bin_pixels(images: Tensor, binning: int) -> Tensor:
    """Sum blocks of pixels whose middle lies at the binned pixel's place, to half a physical pixel."""
    if binning == 1:
        return images
    n = images.shape[-1] // binning
    rolled = torch.roll(images, (binning // 2, binning // 2), (-2, -1))
    return rolled.reshape(-1, n, binning, n, binning).sum((2, 4))


def _half_spectrum(n: int) -> tuple[Tensor, Tensor]:
    kx = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    ky = torch.fft.rfftfreq(n, 1 / n, dtype=torch.float64)
    return kx[:, None].expand(-1, len(ky)), ky.expand(n, -1)


def curve_at(curve: float | Curve, fraction: Tensor) -> Tensor:
    """Return a camera's curve, or the Gaussian of a value at Nyquist, at fractions of the Nyquist frequency, of their shape."""
    if isinstance(curve, float):
        return torch.exp(math.log(curve) * fraction**2)
    places, values = zip(*curve, strict=True)
    return torch.from_numpy(np.interp(fraction.numpy(), places, values))
