"""Recording: expected intensity → background, electron counts, the camera's noise and gain. Pure functions, batched."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from passband.conditions import Condition
from passband.optics import electrons_per_pixel, noise_power
from passband.simulation.imaging import half_spectrum

#: Draws Poisson numbers of these means from a generator: `torch.poisson`, or `poisson.fast_poisson`, which draws others.
Poisson = Callable[[Tensor, torch.Generator], Tensor]

# Plane waves that make a slow background.
_WAVES = 32


@dataclass(frozen=True)
class Recording:
    """How C conditions record images of n physical pixels a side: a row for each, or None for what none of them has.

    Attributes:
        binning: physical pixels along a side of one pixel of the image.
        electrons: mean count of a physical pixel in vacuum, [C]; None without a dose.
        noise_transfer: what multiplies the half spectrum of the shot noise, [C, n, n // 2 + 1].
        readout: standard deviation of the readout noise in electrons, [C].
        gain: standard deviation of the pixels' gains, [C].
        bad: share of bad pixels, [C].
        background: relative standard deviation of the background, and its correlation length in physical pixels, [C, 2].
    """

    binning: int
    electrons: Tensor | None
    noise_transfer: Tensor | None
    readout: Tensor | None
    gain: Tensor | None
    bad: Tensor | None
    background: Tensor | None

    def kinds(self) -> list[bool]:
        """Tell for each tensor whether it is there."""
        return [value is not None for name, value in vars(self).items() if name != "binning"]


def recording(conditions: Sequence[Condition], n: int, device: torch.device) -> Recording:
    """Return how conditions of one binning record images of n physical pixels a side, each with a dose or none of them."""

    def rows(values: Callable[[Condition], list[float]]) -> Tensor | None:
        table = torch.tensor([values(c) for c in conditions], dtype=torch.float32, device=device)
        return table if table[:, 0].any() else None

    def detectors(name: str) -> Tensor | None:
        table = rows(lambda c: [getattr(c.detector, name)])
        return None if table is None else table[:, 0]

    kx, ky = half_spectrum(n)
    fraction = torch.hypot(kx, ky) / (n / 2)
    powers = [noise_power(c, fraction) for c in conditions]
    shaped = None
    if any(power is not None for power in powers):
        white = torch.ones_like(fraction)
        shaped = torch.stack([white if p is None else p for p in powers]).sqrt().float().to(device)
    counted = all(c.dose_per_angstrom2 is not None for c in conditions)
    binning = conditions[0].detector.binning
    return Recording(
        binning,
        torch.tensor([electrons_per_pixel(c) for c in conditions], device=device) if counted else None,
        shaped if counted else None,
        detectors("readout_electrons") if counted else None,
        detectors("gain_residue"),
        detectors("bad_pixels"),
        rows(lambda c: [c.background, c.background_length_angstrom * c.detector.binning / c.pixel_size_angstrom]),
    )


def record(intensity: Tensor, condition: Condition, *, generator: torch.Generator) -> Tensor:
    """Return what a camera records under one condition, as `record_each`."""
    how = recording([condition], intensity.shape[-1], intensity.device)
    which = torch.zeros(len(intensity), dtype=torch.int64, device=intensity.device)
    return record_each(intensity, how, which, generator=generator)


def record_each(
    intensity: Tensor, how: Recording, which: Tensor, *, generator: torch.Generator, poisson: Poisson = torch.poisson
) -> Tensor:
    """Return electron counts of camera pixels, shape [B, n / binning, n / binning]; without a dose, intensities.

    Physical pixels, [B, n, n], count Poisson numbers with mean intensity · dose · pixel area · DQE(0); none where the
    ideal camera's band limit leaves the intensity below zero. The noise transfer function shapes their noise, after which counts are no
    longer whole numbers (Vulović et al., J. Struct. Biol. 183 (2013) 19); readout noise adds to it, gains multiply. Then pixels are summed.

    Args:
        intensity: expected, vacuum = 1, float32.
        how: of C conditions.
        which: of them each image is under, shape [B].
        generator: of all that is random.
        poisson: draws the shot noise.
    """
    n, device = intensity.shape[-1], intensity.device

    def of_each(values: Tensor) -> Tensor:
        return values[which][:, None, None]

    if how.background is not None:
        deviation, length = how.background[which].unbind(1)
        slow = slow_fields(n, length, generator=generator)
        intensity = intensity * (1 + deviation[:, None, None] * slow)
    vacuum = torch.ones(len(intensity), 1, 1, device=device)
    if how.electrons is None:
        counts = intensity
    else:
        vacuum = of_each(how.electrons)
        mean = (intensity * vacuum).clamp_min(0)
        counts = poisson(mean, generator)
        if how.noise_transfer is not None:
            shape = how.noise_transfer[which]
            counts = mean + torch.fft.irfft2(torch.fft.rfft2(counts - mean) * shape, s=(n, n))
        if how.readout is not None:
            counts = counts + of_each(how.readout) * torch.randn(mean.shape, generator=generator, device=device)
    if how.gain is not None:
        counts = counts * (1 + of_each(how.gain) * torch.randn(counts.shape, generator=generator, device=device))
    if how.bad is not None:
        lot, level = torch.rand((2, *counts.shape), generator=generator, device=device)
        counts = torch.where(lot < of_each(how.bad), 2 * level * vacuum, counts)
    if how.electrons is None:
        return bin_pixels(counts, how.binning) / how.binning**2
    return bin_pixels(counts, how.binning)


def slow_fields(n: int, length: Tensor, *, generator: torch.Generator) -> Tensor:
    """Return random fields of unit variance, [B, n, n], whose correlation over r pixels is exp(−r² / 2 L²), L being `length` [B].

    Sums of plane waves with random frequencies (Shinozuka and Deodatis, Appl. Mech. Rev. 44 (1991) 191): stationary, and not periodic.
    """
    count, device = len(length), length.device
    q = torch.randn(2, count, _WAVES, 1, generator=generator, device=device) / length[:, None, None]
    phase = 2 * math.pi * torch.rand(count, _WAVES, 1, generator=generator, device=device)
    place = torch.arange(n, device=device)
    along, across = (
        torch.polar(torch.ones(()).to(device), q[0] * place + phase),
        torch.polar(torch.ones(()).to(device), q[1] * place),
    )
    return math.sqrt(2 / _WAVES) * torch.einsum("bwx,bwy->bxy", along, across).real


def bin_pixels(images: Tensor, binning: int) -> Tensor:
    """Sum blocks of pixels whose middle lies at the binned pixel's place, to half a physical pixel."""
    if binning == 1:
        return images
    n = images.shape[-1] // binning
    rolled = torch.roll(images, (binning // 2, binning // 2), (-2, -1))
    return rolled.reshape(-1, n, binning, n, binning).sum((2, 4))
