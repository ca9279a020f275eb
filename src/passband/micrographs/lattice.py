"""Lattice spacings of particles: peaks of each particle's own power spectrum, their uncertainty, and whether there are any."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import fft, ndimage

from passband.micrographs.fringes import Fringes, common_delocalisation
from passband.specimens.crystals import Crystal, reflections

#: Most spacings of a particle.
MOST = 3
#: Share of amorphous regions that are called crystalline.
FALSE_ALARMS = 0.01
#: Relative uncertainty of a spacing: so many times that of noise, a least one, and so many times the square of the bend, for what tilt and defocus
#: do to it. `benchmarks/lattices.py` chooses the last two.
NOISE_FACTOR, LEAST_ERROR, BEND_FACTOR = 2.0, 0.001, 50.0
#: Fringes weaker than the strongest that bend more are none of a lattice.
MOST_BENT = 0.03
# Frequencies of lattices [1/Å], and share of the Nyquist frequency up to which they are looked for.
_LOWEST, _HIGHEST, _OF_NYQUIST = 0.25, 1.0, 0.9
# The edge of a particle is apodised over this, or over half its inscribed radius if that is less [Å].
_TAPER = 4.0
# Narrower particles have no spacings [Å].
_NARROWEST = 8.0
# Rim of the particles that does not count as film, into which their fringes reach [Å].
_RIM = 8.0
# Discs in the film whose spectra set the threshold: at least, at most.
_FEWEST, _DISCS = 24, 80
# Highest power over the background in white noise, above the logarithm of the number of independent frequencies; its scale, and least one of an image.
_EXCESS, _SCALE = 2.0, 1.3
# Side of what is analysed of a particle, around its middle [pixels].
_SIDE = 1024
# Particles whose strongest peaks tell the delocalisation.
_TELLING = 12
# Two peaks are apart where the lobe of the window has fallen to e to the minus this.
_LOBE = 8.0
# Weaker peaks than this share of the strongest are no reflections but its surroundings.
_WEAKEST = 0.1
# A reflection is named within this relative deviation or three uncertainties, but not beyond the second.
_NAMED = (0.03, 0.06)
_Image = NDArray[np.float32]
_Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Spacing:
    """A lattice spacing with its standard uncertainty [Å]; frequency in x and y [1/Å], and the peak's power over the background.

    `noise` is the relative uncertainty that noise alone would give, `bend` the relative standard deviation of the fringes' local frequency.
    """

    angstrom: float
    uncertainty_angstrom: float
    frequency: tuple[float, float]
    power: float
    noise: float
    bend: float


@dataclass(frozen=True)
class Peak:
    """A peak of a power spectrum: frequency in x and y [1/Å], power over the background, relative uncertainty by noise."""

    frequency: tuple[float, float]
    power: float
    noise: float

    def spacing(self, fringes: Fringes, delocalisation: float) -> Spacing:
        """Return the spacing of the particle's fringes near the peak."""
        q, _ = fringes.fit(self.frequency, delocalisation)
        length, bend = math.hypot(*q), fringes.bend(q, delocalisation)
        error = math.hypot(NOISE_FACTOR * self.noise, LEAST_ERROR, BEND_FACTOR * bend**2)
        return Spacing(1 / length, error / length, q, self.power, self.noise, bend)


@dataclass(frozen=True)
class Threshold:
    """Least power of a peak over its background. The highest power in amorphous regions of an area [Å²] is Gumbel distributed.

    `discs` is the number of regions that this follows from; 0 if the image has too little film, and simulated films stand for it.
    """

    area_angstrom2: float
    location: float
    scale: float
    discs: int

    def of(self, area_angstrom2: float) -> float:
        """Return what a region of an area exceeds by chance with the probability `FALSE_ALARMS`."""
        # As many times more independent frequencies.
        larger = math.log(area_angstrom2 / self.area_angstrom2)
        return self.location + larger - self.scale * math.log(-math.log1p(-FALSE_ALARMS))


class Spectrum:
    """The power spectrum of a region of an image over its background, at frequencies of lattices.

    The region is apodised at its edge, less its weighted mean. The background is the median over all directions, which takes shot noise and
    the film through transfer and camera into account, and is not moved by a few spots.
    """

    def __init__(self, image: _Image, depth: _Image, pixel_size_angstrom: float):
        """Take an image and the distance of its pixels from outside the region [pixels], both of shape [h, w]."""
        p = pixel_size_angstrom
        taper = max(min(_TAPER / p, float(depth.max()) / 2), 1.0)
        window = np.sin(np.float32(np.pi / 2) * np.clip((depth - 0.5) / taper, 0, 1)) ** 2
        total = float(window.sum())
        #: Of the window [Å²].
        self.area = total * p**2
        y, x = (np.arange(n) * p for n in image.shape)
        self._y, self._x = y - (window.sum(1) @ y) / total, x - (window.sum(0) @ x) / total
        self._image = (window * (image - (window * image).sum() / total)).astype(np.float32)
        self._moments = [self._second(w / w.sum()) for w in (window, window**2)]
        shape, high = [fft.next_fast_len(2 * n) for n in image.shape], highest_frequency(p)
        columns = min(int(high * shape[1] * p) + 2, shape[1] // 2 + 1)
        spectrum = fft.fft(fft.rfft(self._image, shape[1], axis=1)[:, :columns], shape[0], axis=0)
        self._qy, self._qx = fft.fftfreq(shape[0], p).astype(np.float32), np.arange(columns) / np.float32(shape[1] * p)
        radius = np.hypot(self._qy[:, None], self._qx)
        band = (radius > _LOWEST) & (radius < high)
        power = (spectrum.real**2 + spectrum.imag**2)[band]
        # Rings as wide as the lobe of the window.
        width = 1 / (2 * np.pi * math.sqrt(np.trace(self._moments[0]) / 2))
        rings = max(round((high - _LOWEST) / width), 1)
        ring = ((radius[band] - _LOWEST) / (high - _LOWEST) * rings).astype(int)
        self._over = np.zeros(radius.shape, np.float32)
        # The mean of an exponential distribution is its median over ln 2.
        self._over[band] = power * math.log(2) / _medians(power, ring)[ring]

    @property
    def highest(self) -> float:
        """The highest power over the background."""
        return float(self._over.max())

    def _second(self, weights: _Image) -> NDArray[np.float64]:
        """Return the second moments of a window about its middle, in x and y [Å²]."""
        xy = float(self._y @ weights @ self._x)
        return np.array([[weights.sum(0) @ self._x**2, xy], [xy, weights.sum(1) @ self._y**2]])

    def peaks(self, least: float) -> list[Peak]:
        """Return up to three peaks above a power over the background, highest first."""
        found: list[Peak] = []
        over = self._over.copy()
        while len(found) < MOST:
            i, j = np.unravel_index(int(over.argmax()), over.shape)
            if over[i, j] <= least:
                break
            found.append(self._peak((float(self._qx[j]), float(self._qy[i])), float(over[i, j])))
            least = max(least, _WEAKEST * found[0].power)
            (qx, qy), ((xx, xy), (_, yy)) = found[-1].frequency, self._moments[0]
            for sign in (1, -1):
                x, y = self._qx - sign * qx, self._qy[:, None] - sign * qy
                over[4 * np.pi**2 * (xx * x**2 + 2 * xy * x * y + yy * y**2) < _LOBE] = 0
        return found

    def _peak(self, q: tuple[float, float], power: float) -> Peak:
        """Return a peak. Noise moves it by the Cramér–Rao bound of a plane wave's frequency under the window."""
        length = math.hypot(*q)
        along = np.linalg.solve(self._moments[0], np.array(q) / length)
        noise = math.sqrt(along @ self._moments[1] @ along / (8 * np.pi**2 * max(power - 1, 1)))
        return Peak(q, power, noise / length)


def highest_frequency(pixel_size_angstrom: float) -> float:
    """Return the highest frequency at which lattices are looked for [1/Å]."""
    return min(_HIGHEST, _OF_NYQUIST * 0.5 / pixel_size_angstrom)


def _medians(values: _Image, groups: NDArray[np.intp]) -> _Image:
    """Return the median of each group of values, numbered from 0; 1 of an empty one."""
    counts = np.bincount(groups)
    middle = np.cumsum(counts) - counts + counts // 2
    ordered = np.append(values[np.lexsort((values, groups))], np.float32(1))
    return np.where(counts > 0, np.maximum(ordered[middle], 1e-30), 1).astype(np.float32)


def amorphous_threshold(image: _Image, instances: NDArray[np.int32], pixel_size_angstrom: float) -> Threshold:
    """Return the threshold from discs of the median size of particles in the film; neighbours overlap by half.

    Quartiles fit the distribution, so that some particles that nobody marked do not matter.
    """
    areas = np.bincount(instances.ravel())[1:]
    radius = max(round(math.sqrt(float(np.median(areas)) / np.pi)), round(_NARROWEST / pixel_size_angstrom), 2)
    step = max(radius // 8, 1)
    reach = radius // step + round(_RIM / pixel_size_angstrom / step) + 1
    # Squares around the discs are free of particles.
    covered = np.cumsum(instances[::step, ::step] > 0, 0, dtype=np.int32).cumsum(1, dtype=np.int32)
    y, x = (np.arange(reach, n - reach - 1, max(radius // step, 1)) for n in covered.shape)
    bottom, top, right, left = y[:, None] + reach, y[:, None] - reach, x + reach, x - reach
    free = np.argwhere(covered[bottom, right] - covered[top, right] - covered[bottom, left] + covered[top, left] == 0)
    away = np.hypot(*np.ogrid[-radius : radius + 1, -radius : radius + 1])
    disc = np.maximum(radius + 1 - away, 0).astype(np.float32)
    if len(free) < _FEWEST:
        area = np.pi * (radius * pixel_size_angstrom) ** 2
        independent = np.pi / 2 * (highest_frequency(pixel_size_angstrom) ** 2 - _LOWEST**2) * area
        return Threshold(area, math.log(independent) + _EXCESS, _SCALE, 0)
    chosen = free[np.unique(np.linspace(0, len(free) - 1, _DISCS).astype(int))]
    spectra = [
        Spectrum(image[i - radius : i + radius + 1, j - radius : j + radius + 1], disc, pixel_size_angstrom)
        for i, j in zip(step * y[chosen[:, 0]], step * x[chosen[:, 1]], strict=True)
    ]
    low, high = np.quantile([s.highest for s in spectra], [0.25, 0.75])
    # The quartiles of a Gumbel distribution lie at −ln ln 4 and −ln ln (4/3).
    below, above = -math.log(math.log(4)), -math.log(math.log(4 / 3))
    scale = float(high - low) / (above - below)
    return Threshold(spectra[0].area, float(low) - below * scale, max(scale, _SCALE), len(chosen))


def particle_spacings(
    image: _Image, instances: NDArray[np.int32], pixel_size_angstrom: float
) -> list[list[Spacing] | None]:
    """Return the spacings of each particle, strongest first; None where it is too small, or the pixels are too coarse, for any."""
    count = int(instances.max(initial=0))
    if not count or highest_frequency(pixel_size_angstrom) < 1.5 * _LOWEST:
        return [None] * count
    threshold = amorphous_threshold(image, instances, pixel_size_angstrom)
    peaks: list[list[Peak] | None] = []
    particles: list[Fringes | None] = []
    for number, place in enumerate(ndimage.find_objects(instances), 1):
        # Of the particle's own image, nothing beyond its box is needed: there the depth is 0.
        inside = np.pad(instances[place] == number, 1)
        depth = ndimage.distance_transform_edt(inside)[1:-1, 1:-1].astype(np.float32)
        if 2 * depth.max() * pixel_size_angstrom < _NARROWEST:
            peaks.append(None)
            particles.append(None)
            continue
        if max(depth.shape) > _SIDE:
            middle = np.unravel_index(int(depth.argmax()), depth.shape)
            cut = [slice(max(m - _SIDE // 2, 0), m + _SIDE // 2) for m in middle]
            depth = depth[tuple(cut)]
            place = tuple(slice(p.start + c.start, p.start + c.start + n) for p, c, n in zip(place, cut, depth.shape, strict=True))  # fmt: skip
        spectrum = Spectrum(image[place], depth, pixel_size_angstrom)
        peaks.append(spectrum.peaks(threshold.of(spectrum.area)))
        particles.append(Fringes(image, instances, number, place, pixel_size_angstrom))
    return _spacings(peaks, particles)


def _spacings(
    peaks: Sequence[Sequence[Peak] | None], particles: Sequence[Fringes | None]
) -> list[list[Spacing] | None]:
    """Return the spacings of the peaks of each particle, of which weaker ones may be none of its lattice."""
    first = [(own[0].power, fringes, own[0].frequency) for own, fringes in zip(peaks, particles, strict=True) if own and fringes]  # fmt: skip
    telling = sorted(first, key=lambda one: -one[0])[:_TELLING]
    delocalisation = common_delocalisation([(fringes, q) for _, fringes, q in telling])
    found: list[list[Spacing] | None] = []
    for own, fringes in zip(peaks, particles, strict=True):
        if own is None or fringes is None:
            found.append(None)
            continue
        each = [peak.spacing(fringes, delocalisation) for peak in own]
        found.append([one for k, one in enumerate(each) if k == 0 or one.bend < MOST_BENT])
    return found


def spacing_columns(found: Sequence[Sequence[Spacing] | None], crystals: Sequence[Crystal]) -> list[pl.Series]:
    """Return columns of particles: crystalline, and for k = 1 to 3 spacing_k_angstrom, spacing_k_uncertainty_angstrom and reflection_k.

    A reflection is the nearest of the crystals, with the deviation from it: Au {111} +0.4 %.
    """
    known = [(f"{c.name} {name}", 1 / q) for c in crystals for name, q in reflections(c, 1.1 * _HIGHEST)]
    columns = [pl.Series("crystalline", [None if f is None else bool(f) for f in found], dtype=pl.Boolean)]
    for k in range(MOST):
        each = [f[k] if f and len(f) > k else None for f in found]
        values = {
            f"spacing_{k + 1}_angstrom": [s and s.angstrom for s in each],
            f"spacing_{k + 1}_uncertainty_angstrom": [s and s.uncertainty_angstrom for s in each],
        }
        columns += [pl.Series(name, v, dtype=pl.Float64) for name, v in values.items()]
        names = [s and _reflection(s, known) for s in each]
        columns.append(pl.Series(f"reflection_{k + 1}", names, dtype=pl.String))
    return columns


def _reflection(spacing: Spacing, known: Sequence[tuple[str, float]]) -> str | None:
    """Return the nearest reflections of several crystals' [Å]: others that lie within two uncertainties follow, up to three together."""
    off = sorted(((spacing.angstrom / d - 1, name) for name, d in known), key=lambda o: abs(o[0]))
    error = spacing.uncertainty_angstrom / spacing.angstrom
    if not off or abs(off[0][0]) > min(max(_NAMED[0], 3 * error), _NAMED[1]):
        return None
    near = [off[0], *(o for o in off[1:3] if abs(o[0]) < 2 * error)]
    return " or ".join(name + f" {100 * by:+.1f} %".replace("-", "−") for by, name in near)
