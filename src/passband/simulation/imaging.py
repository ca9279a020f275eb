"""Imaging: exit wave × condition → expected intensity; network input; and statistics. Pure functions, batched."""

import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from passband.base.electron import wavelength
from passband.base.errors import BadInputError
from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.optics import curve_at, motion_envelope, stack, wave_transfer

# Share of a beam at the rim of the stored band from which the missing rest is worth a warning.
_RIM = 0.05
# Bytes of waves on the fine grid in work at once: a core's share of the cache, or enough to fill a GPU.
_AT_ONCE = {"cpu": 8 * 2**20, "cuda": 2**30}


@dataclass(frozen=True)
class ImageGrid:
    """The grids on which the stored band of a wave becomes a camera image.

    Attributes:
        field_angstrom: side of the field [Å].
        frequencies: integer frequencies of the wave's coefficients, shape [K, 2].
        fine: samples along a side for |ψ|², enough that no beat of two beams folds into the camera's band.
        pixels: pixels of the image along a side.
        physical: pixels of the camera along a side, before binning.
    """

    field_angstrom: float
    frequencies: Tensor
    fine: int
    pixels: int
    physical: int

    @functools.cached_property
    def band(self) -> tuple[int, Tensor, Tensor]:
        """The side of the square that holds the band, where in it each coefficient lies, [K], and what lies at each place, [side²].

        The frequency −side // 2 comes first, not 0: that turns the phase of ψ, which no intensity sees, and lets transforms
        run over the band alone and pad it themselves. Outside the disc, where waves are zero, the last is 0.
        """
        reach = int(self.frequencies.abs().max())
        side = 2 * reach + 1
        place = (self.frequencies[:, 0] + reach) * side + self.frequencies[:, 1] + reach
        coefficient = torch.zeros(side * side, dtype=torch.int64)
        coefficient[place] = torch.arange(len(place))
        return side, place, coefficient

    @functools.cache  # noqa: B019 - grids are few and cached themselves
    def band_on(self, device: torch.device) -> tuple[int, Tensor, Tensor]:
        """`band` on a device: copied there once, since a copy waits for all that the device has to do."""
        side, place, coefficient = self.band
        return side, place.to(device), coefficient.to(device)

    @functools.cached_property
    def shells(self) -> tuple[Tensor, Tensor]:
        """The different |q| [1/Å], float64, a tenth as many as coefficients, and which of them each coefficient has, [K]."""
        squares, place = torch.unique(self.frequencies.square().sum(1), return_inverse=True)
        return squares.to(torch.float64).sqrt() / self.field_angstrom, place


@functools.lru_cache(maxsize=16)
def image_grid(
    field_angstrom: float, band_per_angstrom: float, pixel_size_angstrom: float, binning: int = 1
) -> ImageGrid:
    """Return the grids for a field [Å], which `pixels_across` divides, the stored band [1/Å], and pixels [Å] of a binned image."""
    pixels = pixels_across(field_angstrom, pixel_size_angstrom)
    frequencies = disc_indices(band_per_angstrom * field_angstrom)
    reach = int(frequencies.abs().max())
    physical = pixels * binning
    # Beats reach 2·reach; folded at `fine` they must stay outside the camera's pixels / 2.
    # Multiples of 16 are transformed fastest.
    fine = 16 * next_fast_len(-(-max(2 * reach + physical // 2 + 1, physical) // 16), real=True)
    return ImageGrid(field_angstrom, frequencies, fine, pixels, physical)


def pixels_across(field_angstrom: float, pixel_size_angstrom: float) -> int:
    """Return the pixels along a side of a field; a BadInputError if they are no whole number, or fewer than 8."""
    exact = field_angstrom / pixel_size_angstrom
    pixels = round(exact)
    if pixels < 8 or abs(exact - pixels) > 1e-6 * exact:
        nearest = field_angstrom / max(pixels, 8)
        raise BadInputError(
            f"pixel_size_angstrom {pixel_size_angstrom:g} does not divide the field of {field_angstrom:g} Å into whole pixels (8 or more); use {nearest:.6g}"
        )
    return pixels


def transfer_on_grid(condition: Condition, grid: ImageGrid, orientation: Tensor | None = None) -> Tensor:
    """Return t(q) of a condition at the wave's coefficients, complex64, shape [M, K].

    M is 1 for `coherence: quasi`. For `quadrature` each row is the transfer without envelopes at one focus and tilt,
    times the root of its Gauss–Hermite weight: the image is the sum of the M intensities. A tilted beam shifts the
    spectrum of a thin specimen's exit wave, so its transfer is t(q + k). With an orientation, shape [2, 2], t is taken
    at orientation · q, as if the microscope were turned.

    Raises:
        BadInputError: if the aperture opens beyond the stored band.
    """
    check_aperture(condition, grid)
    edge = 1 / grid.field_angstrom
    if condition.coherence == "quasi" and condition.is_round:
        radius, place = grid.shells
        return wave_transfer(stack([condition]), radius, 0 * radius, edge).to(torch.complex64).index_select(1, place)
    q = grid.frequencies.to(torch.float64) / grid.field_angstrom
    if orientation is not None:
        q = q @ orientation.to(torch.float64).T
    if condition.coherence == "quasi":
        return wave_transfer(stack([condition]), q[:, 0], q[:, 1], edge).to(torch.complex64)
    rows = []
    for focus, tilt, weight in _coherent_parts(condition):
        sharp = condition.model_copy(
            update={
                "focal_spread_angstrom": 0.0,
                "convergence_mrad": 0.0,
                "aberrations": condition.aberrations | {"C10": condition.aberrations.get("C10", 0.0) + focus},
            }
        )
        rows.append(math.sqrt(weight) * wave_transfer(stack([sharp]), q[:, 0] + tilt[0], q[:, 1] + tilt[1], edge)[0])
    return torch.stack(rows).to(torch.complex64)


def _coherent_parts(condition: Condition) -> list[tuple[float, tuple[float, float], float]]:
    """Return focus change [Å], tilt [1/Å] and weight of each Gauss–Hermite node; a width of zero needs one."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(condition.quadrature_nodes)
    weights = weights / weights.sum()

    def rule(width: float) -> list[tuple[float, float]]:
        return [(0.0, 1.0)] if width == 0 else [(width * x, w) for x, w in zip(nodes, weights, strict=True)]

    focus = rule(condition.focal_spread_angstrom)
    tilt = rule(1e-3 * condition.convergence_mrad / wavelength(condition.energy_ev))
    return [(f, (x, y), wf * wx * wy) for (f, wf), (x, wx), (y, wy) in itertools.product(focus, tilt, tilt)]


def check_aperture(condition: Condition, grid: ImageGrid) -> None:
    """Refuse an aperture that opens beyond the stored band, by a BadInputError: the wave is not known there."""
    if condition.aperture_mrad is None:
        return
    cutoff = 1e-3 * condition.aperture_mrad / wavelength(condition.energy_ev)
    band = int(grid.frequencies.abs().max()) / grid.field_angstrom
    if cutoff > band:
        limit = band * wavelength(condition.energy_ev) * 1e3
        raise BadInputError(
            f"aperture_mrad {condition.aperture_mrad:g} opens to {cutoff:.4g} 1/Å, beyond the exit waves' band of {band:.4g} 1/Å ({limit:.4g} mrad); "
            "leave it out for no aperture, or widen exit_waves.band_per_angstrom"
        )


def band_warning(condition: Condition, grid: ImageGrid) -> str | None:
    """Return a warning if the stored band cuts off beams that the condition would still transfer, else None.

    The band then acts as an aperture: without envelopes, 1.5 1/Å changes images of 5 nm of gold on carbon by several
    percent of their contrast.
    """
    band = int(grid.frequencies.abs().max()) / grid.field_angstrom
    angle = torch.linspace(0, 2 * torch.pi, 33, dtype=torch.float64)
    edge = 1 / grid.field_angstrom
    rim = wave_transfer(stack([condition]), band * torch.cos(angle), band * torch.sin(angle), edge).abs().max().item()
    if rim <= _RIM:
        return None
    return (
        f"the exit waves end at {band:.3g} 1/Å, where this condition (focal_spread_angstrom {condition.focal_spread_angstrom:g}) "
        f"still transfers {rim:.0%} of a beam: images lack those beyond; widen exit_waves.band_per_angstrom, or set "
        f"aperture_mrad to at most {band * wavelength(condition.energy_ev) * 1e3:.3g}"
    )


def expected_intensity(waves: Tensor, transfer: Tensor, grid: ImageGrid, camera: Tensor | None = None) -> Tensor:
    """Return I(r) = mean over frozen phonons of Σ_M |F⁻¹[ψ̂ t]|², vacuum = 1, float32, shape [B, physical, physical].

    The camera's pixels sample the intensity after everything beyond their band has been cut off, in Fourier space.
    Pixel (i, j) lies at (i, j) · pixel size. One of `waves` and `transfer` may stand for many of the other.

    Args:
        waves: coefficients of the exit waves, complex64, shape [B, P, K] or [1, P, K].
        transfer: t(q), complex64, shape [M, K] or [B, M, K].
        grid: grids of the image.
        camera: what multiplies the spectrum of the intensity, from `camera_on_grid`, shape [n, m] or [B, n, m].
    """
    transfers = transfer if transfer.ndim == 3 else transfer[None]
    count = max(len(waves), len(transfers))
    side, place, coefficient = grid.band_on(waves.device)
    at_once = max(_AT_ONCE[waves.device.type] // (8 * waves.shape[1] * grid.fine**2), 1)
    images = waves.new_empty((count, grid.physical, grid.physical), dtype=torch.float32)
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        if start == 0 or len(waves) > 1:
            chosen = waves if len(waves) == 1 else waves[part]
            psi = waves.new_zeros((*chosen.shape[:2], side * side)).index_copy_(2, place, chosen)
            psi = psi.view(*chosen.shape[:2], side, side)
        if start == 0 or len(transfers) > 1:
            t = (transfers if len(transfers) == 1 else transfers[part]).index_select(2, coefficient)
            t = t.view(*t.shape[:2], side, side)
        factor = camera if camera is None or camera.ndim == 2 else camera[part]
        images[part] = _to_camera(_intensity(psi, t, grid.fine), grid.physical, factor)
    return images


def _intensity(waves: Tensor, transfers: Tensor, fine: int) -> Tensor:
    """Return the intensity on the fine grid, shape [B, fine, fine], of bands [B or 1, P, n, n] and t(q) there, [B or 1, M, n, n]."""
    parts = []
    for t in transfers.unbind(1):
        psi = torch.fft.ifft(waves * t[:, None], n=fine, dim=-2, norm="forward")
        psi = torch.fft.ifft(psi, n=fine, dim=-1, norm="forward")
        parts.append((psi.real**2 + psi.imag**2).mean(1))
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _to_camera(intensity: Tensor, pixels: int, camera: Tensor | None) -> Tensor:
    """Resample [B, fine, fine] to [B, pixels, pixels] by cropping in Fourier space; the camera's Nyquist row is cut."""
    fine = intensity.shape[-1]
    half = (pixels - 1) // 2
    columns = torch.fft.rfft(intensity, dim=-1, norm="forward")[..., : half + 1]
    spectrum = torch.fft.fft(columns, dim=-2, norm="forward")
    cropped = spectrum.new_zeros((len(intensity), pixels, pixels // 2 + 1))
    cropped[:, : half + 1, : half + 1] = spectrum[:, : half + 1]
    cropped[:, pixels - half :, : half + 1] = spectrum[:, fine - half :]
    if camera is not None:
        cropped = cropped * camera
    return torch.fft.irfft2(cropped, s=(pixels, pixels), norm="forward")


def camera_on_grid(condition: Condition, grid: ImageGrid, orientation: Tensor | None = None) -> Tensor | None:
    """Return what multiplies the half spectrum of the intensity: MTF · motion · contrast, float32, shape [n, n // 2 + 1].

    n are the physical pixels. The contrast leaves the mean alone. None for an ideal camera, a specimen at rest and full contrast. With an
    orientation, shape [2, 2], the drift is taken at orientation · q.
    """
    at_rest = condition.vibration_angstrom == 0 and condition.drift_angstrom == 0
    if condition.detector.mtf is None and at_rest and condition.contrast == 1:
        return None
    kx, ky = half_spectrum(grid.physical)
    q = torch.stack([kx, ky], -1) / grid.field_angstrom
    if orientation is not None:
        q = q @ orientation.to(torch.float64).T
    factor = motion_envelope(stack([condition]), q[..., 0], q[..., 1])[0]
    if condition.detector.mtf is not None:
        factor = factor * curve_at(condition.detector.mtf, torch.hypot(kx, ky) / (grid.physical / 2))
    if condition.contrast != 1:
        factor = factor * torch.where((kx == 0) & (ky == 0), 1.0, condition.contrast)
    return factor.float()


def half_spectrum(n: int) -> tuple[Tensor, Tensor]:
    """Return the integer frequencies along the two axes of the half spectrum of n × n pixels, float64, shape [n, n // 2 + 1] each."""
    kx = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    ky = torch.fft.rfftfreq(n, 1 / n, dtype=torch.float64)
    return kx[:, None].expand(-1, len(ky)), ky.expand(n, -1)


def wave_power(waves: Tensor, frequencies: Tensor, field_angstrom: float, bins: int = 150) -> tuple[Tensor, Tensor]:
    """Return |q| [1/Å] of rings and the mean power spectral density there [Å²], without the undiffracted beam.

    The waves' coefficients, vacuum = 1, have shape [B, P, K], their integer frequencies [K, 2].
    """
    q = frequencies.double().norm(dim=1) / field_angstrom
    power = (waves.real**2 + waves.imag**2).double().mean((0, 1)) * field_angstrom**2
    width = float(q.max()) * (1 + 1e-9) / bins
    ring = (q / width).long()
    scattered = q > 0
    sizes = torch.bincount(ring[scattered], minlength=bins)
    sums = power.new_zeros(bins).index_add_(0, ring[scattered], power[scattered])
    filled = sizes > 0
    return ((torch.arange(bins) + 0.5) * width)[filled].double(), sums[filled] / sizes[filled]


def radial_power(images: Tensor, bins: int = 32) -> Tensor:
    """Return the mean power of images [N, n, n] over rings of equal width up to Nyquist, shape [N, bins]."""
    n = images.shape[-1]
    power = torch.fft.fft2(images, norm="ortho").abs().square()
    k = torch.fft.fftfreq(n, 1 / n)
    radius = torch.hypot(k[:, None], k[None, :])
    ring = (radius / (n / 2) * bins).long()
    inside = (ring < bins) & (radius > 0)
    sizes = torch.bincount(ring[inside], minlength=bins).clamp_min(1)
    return power.new_zeros(len(images), bins).index_add_(1, ring[inside], power[:, inside]) / sizes


def normalize(images: Tensor) -> Tensor:
    """Return images [..., n, n] with zero mean and unit variance each; a constant image becomes zero."""
    centred = images - images.mean((-2, -1), keepdim=True)
    return centred / centred.square().mean((-2, -1), keepdim=True).sqrt().clamp_min(math.sqrt(1e-12))
