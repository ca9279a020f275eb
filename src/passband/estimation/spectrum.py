"""The power spectrum of one image in rings and sectors, without the spots of crystals.

Rings are equally wide in q², in which the Thon rings of a defocus are equidistant. x runs along the columns of the image, to the
right; y along its rows, downwards.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from passband.base.errors import BadInputError, parameter
from passband.micrographs.micrograph import Micrograph

# Share of a tile's side over which its window rises and falls.
_TAPER = 0.4
# Standard deviations above its ring at which a pixel seeds a spot, and down to which the spot extends.
_SEED, _GROWN = 5.5, 2.5
# Smoothing widths of the spot search [1/Å]: a particle of 2 nm has spots of 0.05 1/Å.
_SPOT_WIDTHS = (0.0, 0.007, 0.015)
# Distance within which spots count as one reflection [1/Å].
_SAME = 0.02
# Values sampled for the medians of all rings.
_SAMPLED = 300_000
# Standard deviation of a normal variable over its median absolute deviation.
_MAD = 1.4826

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Spots:
    """Crystal spots at one spatial frequency [1/Å]; each counts with its Friedel mate."""

    q_per_angstrom: float
    count: int


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean power in rings and sectors; NaN where a bin has no pixel."""

    q: Array  #: mean spatial frequency of each ring [1/Å], shape [R]
    angle: Array  #: middle of each sector [rad], shape [K], from x towards y
    power: Array  #: contribution to the variance of a pixel, shape [R, K]: white noise of variance v has power v everywhere
    count: Array  #: independent values in each mean, shape [R, K]
    noise: float  #: power beyond the band
    mean: float  #: of the image
    spots: tuple[Spots, ...]  #: of crystals, excluded from the means
    masked: float  #: share of the band that they cover


def power_spectrum(
    micrograph: Micrograph,
    *,
    band_per_angstrom: tuple[float, float],
    rings: int = 200,
    sectors: int = 16,
    side_angstrom: float = 400.0,
    mask_spots: bool = True,
) -> Spectrum:
    """Return the power spectrum of a micrograph in rings of equal width in q², and sectors of the half plane.

    Tiles have a side of `side_angstrom`, or of the image where that is smaller. BadInputError if the band exceeds the Nyquist frequency.
    """
    pixel, (low, high) = micrograph.pixel_size_angstrom, band_per_angstrom
    if not 0 < low < high <= 0.5 / pixel:
        limit, remedy = (0.0, 0.5 / pixel), f"correct {parameter('band_per_angstrom')}"
        what = f"a band of {low:g} to {high:g} 1/Å exceeds 0 to {limit[1]:.4g} 1/Å, the Nyquist frequency of the pixels"
        raise BadInputError(what, value=band_per_angstrom, limit=limit, remedy=remedy, place=micrograph.name)
    power, share = _mean_power(micrograph, side_angstrom)
    kx, ky = np.abs(np.fft.rfftfreq(len(power), pixel))[None], np.fft.fftfreq(len(power), pixel)[:, None]
    q, angle = np.hypot(kx, ky), np.mod(np.arctan2(ky, kx), np.pi)
    # Each independent pixel once.
    inside = ((kx > 0) | (ky > 0)) & (2 * pixel * kx < 1)
    keep = band = inside & (q >= low) & (q < high)
    spots: tuple[Spots, ...] = ()
    if mask_spots:
        in_spot, spots = _find_spots(power, q, inside & (q < high), pixel)
        keep = band & ~in_spot
    ring = np.minimum((rings * (q[keep] ** 2 - low**2) / (high**2 - low**2)).astype(int), rings - 1)
    sector = np.round(angle[keep] / np.pi * sectors).astype(int) % sectors
    place = ring * sectors + sector

    def total(values: Array | None = None) -> Array:
        return np.bincount(place, values, rings * sectors).reshape(rings, sectors).astype(float)

    count = total()
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_power = total(power[keep]) / count
        edges = np.linspace(low**2, high**2, rings + 1)
    # The corners of the spectrum, and at least everything above the band.
    beyond = inside & (q > max(high, 0.5 / pixel))
    return Spectrum(
        q=np.sqrt((edges[1:] + edges[:-1]) / 2),
        angle=np.pi * np.arange(sectors) / sectors,
        power=mean_power,
        count=count * share,
        noise=float(power[beyond].mean()),
        mean=float(micrograph.intensity.mean(dtype=np.float64)),
        spots=spots,
        masked=1 - float(keep.sum() / band.sum()),
    )


def _mean_power(micrograph: Micrograph, side_angstrom: float) -> tuple[Array, float]:
    """Return the mean power of the tiles [n, n // 2 + 1], and the independent values per pixel of it."""
    image = micrograph.intensity
    n = min(*image.shape, max(64, 16 * round(side_angstrom / micrograph.pixel_size_angstrom / 16)))
    # A cosine-tapered window (Tukey).
    edge = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / (_TAPER / 2 * n)
    window = np.sin(np.pi / 2 * np.minimum(edge, 1)) ** 2
    weights = np.outer(window, window).astype(np.float32)
    # Tiles overlap by at least the tapers.
    corners = [
        np.unique(np.linspace(0, side - n, math.ceil((side - n) / ((1 - _TAPER) * n)) + 1).astype(int))
        for side in image.shape
    ]
    power = np.zeros((n, n // 2 + 1))
    for i, j in itertools.product(*corners):
        tile = image[i : i + n, j : j + n]
        spectrum = np.fft.rfft2((tile - tile.mean(dtype=np.float64)).astype(np.float32) * weights)
        power += spectrum.real**2 + spectrum.imag**2
    tiles = len(corners[0]) * len(corners[1])
    power /= tiles * (window**2).sum() ** 2
    used = ((window**2).sum() ** 2 / (n * (window**4).sum())) ** 2
    return power, min(tiles * used, image.size / n**2)


def _find_spots(
    power: Array, q: Array, inside: NDArray[np.bool_], pixel: float
) -> tuple[NDArray[np.bool_], tuple[Spots, ...]]:
    """Return the pixels that crystal spots cover, and the spots.

    The cube root of a mean of powers is nearly normal (Wilson and Hilferty 1931). Outliers from a ring's median, in units of its median
    absolute deviation, are spots; the spectrum is also searched after smoothing over the widths of spots.
    """
    n = len(power)
    # Everything beyond the band is one last ring.
    ring = np.where(inside, np.round(q * n * pixel), np.round(q[inside].max() * n * pixel) + 1).astype(int)
    root = np.cbrt(power)
    away = root - _medians(root, ring)[ring]
    root = away / np.maximum(_deviation(away, ring), 1e-12)[ring]
    seeds, grown = np.zeros(power.shape, bool), np.zeros(power.shape, bool)
    for width in _SPOT_WIDTHS:
        # Rows wrap around; the column beyond the half plane is approximated by its mirror image.
        smooth = root if width == 0 else ndimage.gaussian_filter(root, width * n * pixel, mode=("wrap", "mirror"))
        # A smoothed ring has few independent values, so the deviation of all rings is the lower bound. Where Thon rings are
        # astigmatic a ring of the spectrum deviates more.
        overall = _MAD * np.median(np.abs(smooth[inside]))
        smooth = smooth / np.maximum(overall, _deviation(smooth, ring))[ring]
        seeds |= smooth > _SEED
        grown |= smooth > _GROWN + (width == 0)
    seeds &= inside & (q > 0.1)
    labels, _ = ndimage.label(grown | seeds, np.ones((3, 3)))
    chosen = np.unique(labels[seeds])
    if not len(chosen):
        return np.zeros(power.shape, bool), ()
    in_spot = np.isin(labels, chosen)
    strongest = ndimage.maximum_position(np.where(seeds, power, 0), labels, chosen)
    places = np.sort([q[p] for p in strongest])
    groups = np.split(places, np.flatnonzero(np.diff(places) > _SAME) + 1)
    spots = tuple(Spots(round(float(g.mean()), 4), len(g)) for g in groups)
    return ndimage.binary_dilation(in_spot, iterations=2), spots


def _deviation(away: Array, ring: NDArray[np.int_]) -> Array:
    """Return the robust standard deviation about zero of each ring, smoothed over neighbours because small rings are uncertain."""
    return np.asarray(ndimage.median_filter(_MAD * _medians(np.abs(away), ring), 9, mode="nearest"))


def _medians(values: Array, ring: NDArray[np.int_]) -> Array:
    some = max(values.size // _SAMPLED, 1) | 1
    flat, place = values.ravel()[::some], ring.ravel()[::some]
    order = np.argsort(flat)
    # Small integers are sorted by their digits, which is fast.
    order = order[np.argsort(place[order].astype(np.uint16), kind="stable")]
    ends = np.cumsum(np.bincount(place, minlength=ring.max() + 1))
    starts = np.concatenate([[0], ends[:-1]])
    return np.asarray(flat[order][np.minimum((starts + ends) // 2, flat.size - 1)])
