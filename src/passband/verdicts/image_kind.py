"""What an image is, if it is no HRTEM image of particles on a film at its true scale, or no dark-field scan: told from the image alone.

Limits lie beyond what 300 simulated HRTEM images under the conditions of au-300kv show (`benchmarks/not_hrtem.py` counts false alarms on others).
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from passband.conditions import StemCondition
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.resample import resample
from passband.models.card import ModelCard, Specimens
from passband.specimens.crystals import Crystal, reflections
from passband.verdicts.statements import Statement

Array = NDArray[np.float64]

# Side of the piece of an image that is looked at, and of a tile of it [Å]: a particle's spots fill a tile.
_PIECE, _TILE = 614.4, 102.4
# Finest pixels that lattices need [Å].
_FINEST = 0.4
# Side of the image in which a pattern is looked for [pixels].
_SMALL = 256
# Least correlation of a pattern with its own reflection through a point near its middle, and least excess of the middle's brightness over
# the rim's, in ranks from −0.5 to 0.5. HRTEM images reach 0.68 in the first, where they show one crystal, and 0.36 in the second.
_SYMMETRY, _BRIGHT_MIDDLE = 0.2, 0.4
# Least skewness, over film and particles, of an image blurred to 6 Å, and excess of the logarithm of the finer structure's variance where it is bright.
_SKEWNESS, _GRAIN = 1.1, 0.2
# Least skewness of a dark-field scan, half-way: 324 simulated scans have 0.9 or more (dark parts a grain of −0.04 or less), their negatives −0.9 or less (0.38 or more).
_DARK = 0.0
_BLUR = 6.0
# Share of the image with one lattice, from which there is nothing else in it; how far it exceeds what lies at another frequency.
_ONE_LATTICE, _ABOVE = 0.8, 3.0
_LATTICE_BLUR = 8.0
# Frequencies of lattices [1/Å]. Power over the local mean from which a pixel is a spot: speckle is exponential, and one in 10⁷ is so high.
_LOWEST, _HIGHEST, _SPOT = 0.27, 1.2, 16.0
_BLOCK = 16
# Scales that are tried, as logarithms; those within the second of 0 are the image's own, those beyond the third are others.
_SCALES, _OWN, _OTHER = np.arange(-0.8, 0.8, 0.005), 0.04, 0.07
# Relative error of a spot's frequency, share of spots that are of no lattice, and shells of reflections.
_SPOT_ERROR, _STRAY, _SHELLS = 0.015, 0.2, 4
# Log-likelihood ratio by which another scale has to explain the spots better. Which scale is right stays open: {220} and {311} are as far apart as {111} and {200}.
_EVIDENCE = 12.0


def kind_objections(micrograph: Micrograph, card: ModelCard) -> list[Statement]:
    """Return why an image is none that a model for HRTEM images, or dark-field scans, of particles can be judged on; empty if nothing is found."""
    if card.modality != "hrtem":
        return _dark(micrograph, card)
    if (symmetry := pattern(micrograph.intensity)) is not None:
        return [Statement("pattern", value=symmetry)]
    known = card.scored_on or card.specimens
    fine = _middle(micrograph, max(_FINEST, micrograph.pixel_size_angstrom))
    coarse = _middle(micrograph, card.pixel_size_angstrom)
    share = one_lattice(coarse, card.pixel_size_angstrom)
    if share > _ONE_LATTICE:
        return [Statement("one_lattice", value=share, limit=_ONE_LATTICE)]
    skewness, grain = bright_grains(coarse, card.pixel_size_angstrom)
    if skewness > _SKEWNESS and grain > _GRAIN:
        return [Statement("bright", value=skewness, limit=_SKEWNESS)]
    crystal = _crystal(known)
    other = None if crystal is None else wrong_scale(fine, max(_FINEST, micrograph.pixel_size_angstrom), crystal)
    return [] if other is None else [other]


def _dark(micrograph: Micrograph, card: ModelCard) -> list[Statement]:
    """Return that an image for a model of dark-field scans shows dark particles: an inverted scan, or a bright-field image."""
    if not all(isinstance(c, StemCondition) and c.detector.is_incoherent for c in card.conditions or [None]):
        return []
    image = _middle(micrograph, card.pixel_size_angstrom)
    skewness, grain = bright_grains(-image, card.pixel_size_angstrom)
    return [Statement("dark", value=-skewness, limit=_DARK)] if -skewness < _DARK and grain > _GRAIN else []


def pattern(image: NDArray[np.float32]) -> float | None:
    """Return the correlation of an image with its reflection through a point, if it is a diffraction pattern or a power spectrum; else None.

    Friedel's law makes these symmetric about a point, around which they are brightest. Ranks take care of any display.
    """
    # Imported here because it takes half a second.
    from scipy.stats import rankdata

    step = -(-min(image.shape) // _SMALL)
    n = min(image.shape) // step
    top, left = ((side - n * step) // 2 for side in image.shape)
    small = image[top : top + n * step, left : left + n * step].reshape(n, step, n, step).mean((1, 3))
    ranks = rankdata(small).reshape(n, n) / n**2
    slow = ndimage.gaussian_filter(ranks, n / 16)
    away = np.hypot(*(np.mgrid[:n, :n] - n / 2))
    if slow[away < 0.1 * n].mean() - slow[away > 0.4 * n].mean() < _BRIGHT_MIDDLE:
        return None
    detail = (ranks - slow) * _window(n)
    spectrum = np.fft.fft2(detail, s=(2 * n, 2 * n))
    reach = n // 10
    # Self-convolution: the sum over x of d(x) d(2c − x), for each centre c.
    centres = np.fft.ifft2(spectrum**2).real[n - 1 - reach : n + reach, n - 1 - reach : n + reach]
    symmetry = float(centres.max() / max((detail**2).sum(), 1e-12))
    return symmetry if symmetry > _SYMMETRY else None


def bright_grains(image: Array, pixel: float) -> tuple[float, float]:
    """Return the skewness of a blurred image, and by how much the logarithm of the finer structure's variance is higher where it is bright.

    In bright field particles are darker than the film. In dark-field STEM, and in a negative, they are bright, and grainier than the rest; a
    hole in the film is bright and smooth.
    """
    width = _BLUR / pixel
    blurred = ndimage.gaussian_filter(image, width)
    variance = ndimage.gaussian_filter((image - ndimage.gaussian_filter(image, width / 6)) ** 2, width / 3)
    step = slice(None, None, max(int(width), 1))
    level, grain = blurred[step, step].ravel(), np.log(variance[step, step].ravel() + 1e-12)
    middle, top = np.quantile(level, [0.5, 0.995])
    if middle == top:
        return 0.0, 0.0
    skewness = ((level - level.mean()) ** 3).mean() / level.std() ** 3
    return float(skewness), float(np.median(grain[level >= (middle + top) / 2]) - np.median(grain))


def one_lattice(image: Array, pixel: float) -> float:
    """Return the share of an image [n, n] over which the lattice of its strongest spot extends: where its demodulated amplitude exceeds noise.

    The noise is the amplitude at a frequency 5 % higher and a quarter of a turn away.
    """
    n = len(image)
    q = np.fft.fftfreq(n, pixel)
    radius = np.hypot(q[:, None], q)
    power = np.abs(np.fft.fft2((image - image.mean()) * _window(n))) ** 2
    power[(radius < _LOWEST) | (radius > 0.5 / pixel)] = 0
    i, j = np.unravel_index(power.argmax(), power.shape)
    y, x = np.mgrid[:n, :n] * pixel

    def amplitude(qy: float, qx: float) -> Array:
        beat = (image - image.mean()) * np.exp(-2j * np.pi * (qy * y + qx * x))
        parts = (ndimage.gaussian_filter(part, _LATTICE_BLUR / pixel) for part in (beat.real, beat.imag))
        return np.asarray(np.hypot(*parts))

    noise = np.sqrt((amplitude(-1.05 * q[j], 1.05 * q[i]) ** 2).mean())
    return float((amplitude(q[i], q[j]) > _ABOVE * noise).mean())


def wrong_scale(image: Array, pixel: float, crystal: Crystal) -> Statement | None:
    """Return that the lattice spots of an image fit those of a crystal at another scale far better than at its own; None if they do not.

    A spot lies at a reflection of the crystal, up to an error of 1.5 %, or anywhere: the likelihood of all spots is compared between scales.
    """
    q = lattice_spots(image, pixel)
    high = min(_HIGHEST, 0.5 / pixel)
    own_reflections = np.array([q for _, q in reflections(crystal)[:_SHELLS]])
    if not len(q):
        return None
    anywhere = 1 / np.log(high / _LOWEST)

    def log_likelihood(scale: float) -> float:
        shells = np.log(own_reflections) + scale
        seen = (shells > np.log(_LOWEST)) & (shells < np.log(high))
        if not seen.any():
            return 0.0
        away = (np.log(q)[:, None] - shells[seen]) / _SPOT_ERROR
        near = (np.exp(-(away**2) / 2) / (_SPOT_ERROR * np.sqrt(2 * np.pi))).mean(1)
        return float(np.log((1 - _STRAY) * near / anywhere + _STRAY).sum())

    fits = np.array([log_likelihood(scale) for scale in _SCALES])
    own = max(fits[np.abs(_SCALES) < _OWN].max(), 0.0)
    others = np.where(np.abs(_SCALES) > _OTHER, fits, -np.inf)
    if others.max() - own < _EVIDENCE:
        return None
    spacings = [round(1 / v, 2) for v in q if v < 1.1 * own_reflections[-1]]
    limit = [round(1 / v, 2) for v in own_reflections[:2].tolist()]
    return Statement("lattice", "pixel_size_angstrom", _common(spacings), limit, {"crystal": crystal.name})


def lattice_spots(image: Array, pixel: float) -> Array:
    """Return the frequencies [1/Å] of the lattice spots in the power spectra of an image's tiles, each spot of each tile."""
    n = min(round(_TILE / pixel), *image.shape) // _BLOCK * _BLOCK
    k = np.fft.fftshift(np.fft.fftfreq(n, pixel))
    q = np.hypot(k[:, None], k)
    half = (k[None] > 0) | ((k[None] == 0) & (k[:, None] > 0))
    use = half & (q > _LOWEST) & (q < 0.98 * min(_HIGHEST, 0.5 / pixel))
    use[[0, -1]] = use[:, [0, -1]] = False
    starts = [np.unique(np.linspace(0, side - n, -(-side // n)).round().astype(int)) for side in image.shape]
    found: list[float] = []
    for top in starts[0]:
        for left in starts[1]:
            tile = image[top : top + n, left : left + n]
            power = np.abs(np.fft.fftshift(np.fft.fft2((tile - tile.mean()) * _window(n)))) ** 2
            blocks = np.median(power.reshape(n // _BLOCK, _BLOCK, n // _BLOCK, _BLOCK), axis=(1, 3)) / np.log(2)
            ground = ndimage.zoom(blocks, _BLOCK, order=1, grid_mode=True, mode="nearest")
            for i, j in np.argwhere(use & (power > _SPOT * ground)):
                if power[i, j] < power[max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4].max():
                    continue
                peak = power[i - 1 : i + 2, j - 1 : j + 2] / power[i - 1 : i + 2, j - 1 : j + 2].sum()
                shift = [float((peak.sum(axis) * [-1, 0, 1]).sum()) / (n * pixel) for axis in (1, 0)]
                found.append(float(np.hypot(k[i] + shift[0], k[j] + shift[1])))
    return np.array(found)


def _crystal(known: Specimens) -> Crystal | None:
    """Return the crystal of a model's particles; None if it knows several, or none: where many lattices are known, nearly every spacing fits."""
    from passband.specimens import SpecimenRecipe

    if known.recipe is None:
        return None
    crystals = {p.crystal_used().name: p.crystal_used() for p in SpecimenRecipe.model_validate(known.recipe).particles}
    return next(iter(crystals.values())) if len(crystals) == 1 else None


def _common(spacings: list[float]) -> list[float]:
    """Return up to three spacings [Å] that most spots have, largest first."""
    bins = np.exp(np.round(np.log(spacings) / 0.03) * 0.03) if spacings else np.array([])
    values, counts = np.unique(bins, return_counts=True)
    most = values[np.argsort(-counts, kind="stable")[:3]]
    return sorted((float(round(v, 2)) for v in most), reverse=True)


def _middle(micrograph: Micrograph, pixel: float) -> Array:
    """Return the middle of a micrograph, square, at pixels of another size [Å]."""
    have, image = micrograph.pixel_size_angstrom, micrograph.intensity
    n = min(*image.shape, round(_PIECE / have))
    top, left = ((side - n) // 2 for side in image.shape)
    wanted = max(round(n * have / pixel), 1)
    return resample(image[top : top + n, left : left + n], (wanted, wanted)).astype(np.float64)


def _window(n: int) -> Array:
    window = np.hanning(n)
    return np.outer(window, window)
