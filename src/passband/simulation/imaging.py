"""Imaging: exit wave × condition → expected intensity; network input; and statistics. Pure functions, batched."""

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
# Beams of which a condition transfers less than this are left out.
_BEAM = 1e-4
# Beats of two beams may fold into the image where a condition transfers less than this of their product.
_BEAT = 0.03
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
        stored: the largest frequency along an axis of all stored coefficients.
        kept: which of the stored coefficients `frequencies` are, shape [K]; None for all.
    """

    field_angstrom: float
    frequencies: Tensor
    fine: int
    pixels: int
    physical: int
    stored: int
    kept: Tensor | None = None

    @functools.cached_property
    def reach(self) -> int:
        """The largest frequency along an axis."""
        return int(self.frequencies.abs().max())

    @property
    def side(self) -> int:
        """The side of the square that holds the band.

        In it the frequency −side // 2 comes first, not 0: that turns the phase of ψ, which no intensity sees, and lets
        transforms pad the band themselves.
        """
        return 2 * self.reach + 1

    @functools.cached_property
    def place(self) -> Tensor:
        """Where in the square, flattened, each coefficient lies, shape [K]."""
        return (self.frequencies[:, 0] + self.reach) * self.side + self.frequencies[:, 1] + self.reach

    @functools.cached_property
    def shells(self) -> tuple[Tensor, Tensor]:
        """The different |q| [1/Å], float64, a tenth as many as coefficients, and which of them lies at each place in the square, [side²].

        Outside the band it is one more than there are.
        """
        squares, which = torch.unique(self.frequencies.square().sum(1), return_inverse=True)
        shell = torch.full((self.side**2,), len(squares))
        shell[self.place] = which
        return squares.to(torch.float64).sqrt() / self.field_angstrom, shell

    def square(self, values: Tensor) -> Tensor:
        """Return values [A, B, K] at the frequencies, or at all that are stored, in the square, [A, B, side, side], zero elsewhere."""
        place, kept = self._on(values.device)
        if kept is not None and values.shape[2] != len(self.frequencies):
            values = values.gather(2, kept.expand(*values.shape[:2], -1))
        empty = values.new_zeros((*values.shape[:2], self.side**2))
        return empty.scatter_(2, place.expand(values.shape), values).view(*values.shape[:2], self.side, self.side)

    @functools.cache  # noqa: B019 - grids are few and cached themselves
    def _on(self, device: torch.device) -> tuple[Tensor, Tensor | None]:
        """Return `place` and `kept` on a device: copied there once, since a copy waits for all that the device has to do."""
        return self.place.to(device), None if self.kept is None else self.kept.to(device)


@functools.lru_cache(maxsize=16)
def image_grid(
    field_angstrom: float, band_per_angstrom: float, pixel_size_angstrom: float, binning: int = 1
) -> ImageGrid:
    """Return the grids for a field [Å], which `pixels_across` divides, the stored band [1/Å], and pixels [Å] of a binned image."""
    pixels = pixels_across(field_angstrom, pixel_size_angstrom)
    frequencies = disc_indices(band_per_angstrom * field_angstrom)
    physical = pixels * binning
    stored = int(frequencies.abs().max())
    # Beats reach twice as far as beams.
    return ImageGrid(field_angstrom, frequencies, _fine(2 * stored + 1, physical), pixels, physical, stored)


def _fine(beats: int, physical: int) -> int:
    """Return the samples along a side at which beats below this frequency do not fold into the camera's band."""
    needed = beats + physical // 2
    if needed <= physical == next_fast_len(physical, real=True):
        return physical
    # Multiples of 16 are transformed fastest.
    return 16 * next_fast_len(-(-max(needed, physical) // 16), real=True)


def narrowed(grid: ImageGrid, conditions: Sequence[Condition]) -> ImageGrid:
    """Return the smaller grid that images under these conditions need; the grid itself if they damp no beams.

    Beams of which all conditions transfer less than 1e-4 are left out, and beats of two beams may fold into the camera's band where
    conditions transfer less than 0.03 of the product of both amplitudes. Specimens scatter little that far: images of
    gold on carbon change by less than 2e-4 of their contrast (standard deviation), mostly by 1e-5.
    """
    if any(condition.coherence == "quadrature" for condition in conditions):
        return grid
    angles = 1 if all(condition.is_round for condition in conditions) else 32
    angle = torch.arange(angles, dtype=torch.float64) * (2 * torch.pi / angles)
    radius = torch.arange(grid.reach + 1, dtype=torch.float64)[:, None] / grid.field_angstrom
    place = radius * torch.cos(angle), radius * torch.sin(angle), 1 / grid.field_angstrom
    top = torch.stack([wave_transfer(part, *place).abs().amax((0, 2)) for part in stack(conditions).split(64)]).amax(0)
    # Of a beam between two radii, whichever is larger.
    top[:-1] = torch.maximum(top[:-1], top[1:])
    reach = int((top > _BEAM).nonzero().max()) + 1
    beats = torch.outer(top, top) > _BEAT
    sums = torch.arange(len(top))[:, None] + torch.arange(len(top))
    return _narrowed(grid, min(reach, grid.reach), int(sums[beats].max()) + 2)


@functools.lru_cache(maxsize=64)
def _narrowed(grid: ImageGrid, reach: int, beats: int) -> ImageGrid:
    """Return the grid with beams up to a frequency, and beats below another kept from folding."""
    fine = min(_fine(min(beats, 2 * reach + 1), grid.physical), grid.fine)
    if reach == grid.reach and fine == grid.fine:
        return grid
    if reach == grid.reach:
        return replace(grid, fine=fine)
    kept = (grid.frequencies.square().sum(1) <= reach**2).nonzero()[:, 0]
    return replace(grid, frequencies=grid.frequencies[kept], fine=fine, kept=kept)


def divides(pixel_size_angstrom: float, field_angstrom: float) -> bool:
    """Tell whether a field is a whole number of pixels across, 8 or more."""
    exact = field_angstrom / pixel_size_angstrom
    return round(exact) >= 8 and abs(exact - round(exact)) <= 1e-6 * exact


def pixels_across(field_angstrom: float, pixel_size_angstrom: float) -> int:
    """Return the pixels along a side of a field; a BadInputError if they are no whole number, or fewer than 8."""
    pixels = round(field_angstrom / pixel_size_angstrom)
    if not divides(pixel_size_angstrom, field_angstrom):
        nearest = field_angstrom / max(pixels, 8)
        raise BadInputError(
            f"pixel_size_angstrom {pixel_size_angstrom:g} does not divide the field of {field_angstrom:g} Å into whole pixels (8 or more); use {nearest:.8g}"
        )
    return pixels


def transfer_on_grid(condition: Condition, grid: ImageGrid, orientation: Tensor | None = None) -> Tensor:
    """Return t(q) of a condition in the square that holds the band, complex64, shape [M, n, n].

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
        radius, shell = grid.shells
        t = wave_transfer(stack([condition]), radius, 0 * radius, edge)[0].to(torch.complex64)
        return torch.cat([t, t.new_zeros(1)]).index_select(0, shell).view(1, grid.side, grid.side)
    q = grid.frequencies.to(torch.float64) / grid.field_angstrom
    if orientation is not None:
        q = q @ orientation.to(torch.float64).T
    if condition.coherence == "quasi":
        rows = wave_transfer(stack([condition]), q[:, 0], q[:, 1], edge)
    else:
        rows = torch.stack([_coherent(condition, part, q, edge) for part in _coherent_parts(condition)])
    return grid.square(rows.to(torch.complex64)[None])[0]


def _coherent(condition: Condition, part: tuple[float, tuple[float, float], float], q: Tensor, edge: float) -> Tensor:
    """Return t(q) of one node of `_coherent_parts` at q [K, 2], times the root of its weight, shape [K]."""
    focus, tilt, weight = part
    sharp = condition.model_copy(
        update={
            "focal_spread_angstrom": 0.0,
            "convergence_mrad": 0.0,
            "aberrations": condition.aberrations | {"C10": condition.aberrations.get("C10", 0.0) + focus},
        }
    )
    return math.sqrt(weight) * wave_transfer(stack([sharp]), q[:, 0] + tilt[0], q[:, 1] + tilt[1], edge)[0]


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
    band = grid.stored / grid.field_angstrom
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
    band = grid.stored / grid.field_angstrom
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
        transfer: t(q), complex64, shape [M, n, n] or [B, M, n, n].
        grid: grids of the image.
        camera: what multiplies the spectrum of the intensity, from `camera_on_grid`, shape [n, m] or [B, n, m].
    """
    transfers = transfer if transfer.ndim == 4 else transfer[None]
    count = max(len(waves), len(transfers))
    at_once = max(_AT_ONCE[waves.device.type] // (8 * waves.shape[1] * grid.fine**2), 1)
    images = waves.new_empty((count, grid.physical, grid.physical), dtype=torch.float32)
    for start in range(0, count, at_once):
        part = slice(start, start + at_once)
        if start == 0 or len(waves) > 1:
            psi = grid.square(waves if len(waves) == 1 else waves[part])
        t = transfers if len(transfers) == 1 else transfers[part]
        factor = camera if camera is None or camera.ndim == 2 else camera[part]
        images[part] = _to_camera(_intensity(psi, t, grid.fine), grid.physical, factor)
    return images


def _intensity(waves: Tensor, transfers: Tensor, fine: int) -> Tensor:
    """Return the intensity on the fine grid, shape [B, fine, fine], of bands [B or 1, P, n, n] and t(q) there, [B or 1, M, n, n]."""
    parts = [
        _mean_square(torch.fft.ifft2(waves * t[:, None], s=(fine, fine), norm="forward")) for t in transfers.unbind(1)
    ]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


def _mean_square(psi: Tensor) -> Tensor:
    """Return the mean of |ψ|² over P, shape [B, n, n], of ψ [B, P, n, n], which it overwrites."""
    values, count = torch.view_as_real(psi), psi.shape[1]
    if psi.is_cuda:
        # One reading of ψ.
        return torch.linalg.vector_norm(values, dim=(1, -1)).square_().div_(count)
    # A third of the time of ψ.real**2 + ψ.imag**2 on a CPU: real and imaginary parts come apart once, in the end.
    first, *others = values.square_().unbind(1)
    for other in others:
        first += other
    return (first[..., 0] + first[..., 1]).div_(count)


def _to_camera(intensity: Tensor, pixels: int, camera: Tensor | None) -> Tensor:
    """Resample [B, fine, fine] to [B, pixels, pixels] by cropping in Fourier space; the camera's Nyquist row is cut."""
    fine = intensity.shape[-1]
    if fine == pixels and camera is None:
        return intensity
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
