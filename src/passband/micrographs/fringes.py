"""The frequency of a particle's fringes, where defocus displaces them, and how much they bend.

The beams +g and −g show a particle displaced by λ·defocus·g along g to either side (delocalisation; Lichte, Ultramicroscopy 38 (1991) 13). Where the two
copies do not overlap equally their sum bends, and the peak of the power spectrum is off. The two are fitted together.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: λ·defocus of the copies [Å²]: up to 500 Å at 300 kV.
DELOCALISATIONS = tuple(range(11))
# Beyond the particle, as far as the copies reach [Å].
_REACH = 10.0
# Pixels on which the envelope of the fringes is kept, unless the image's are coarser [Å].
_PIXEL = 1.0
# Steps around a frequency, of the width of the particle's peak, from coarse to fine, and how many to either side.
_STEPS, _AROUND = (0.35, 0.1, 0.03), 4
# Phases between the two copies. Beyond a quarter turn they cancel where the particle is flat, and fit anything; fringes so weak are rarely the strongest.
_PHASES = np.exp(2j * np.pi * np.arange(-6, 7) / 24)[:, None, None]
# Width of the average in which a local frequency is measured [Å], and least weight of the copies where it counts.
_LOCAL, _COUNTS = 2.5, 0.2
_Image = NDArray[np.float32]
#: In x and y.
Frequency = tuple[float, float]


class Fringes:
    """A particle's part of an image, with a margin."""

    def __init__(
        self,
        image: _Image,
        numbers: NDArray[np.int32],
        number: int,
        place: tuple[slice, ...],
        pixel_size_angstrom: float,
    ):
        """Take an image and the number of the particle at each pixel, both of shape [h, w], and where the particle is."""
        margin = round(_REACH / pixel_size_angstrom)
        cut = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in place)
        inside = numbers[cut] == number
        self._image = image[cut] - image[cut][inside].mean()
        self._y, self._x = (pixel_size_angstrom * np.arange(n) for n in inside.shape)
        self._block = max(int(_PIXEL / pixel_size_angstrom + 1e-6), 1)
        self._pixel = self._block * pixel_size_angstrom
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        # Of a particle with round flanks; 1 in the middle.
        self._thickness = self._coarse(np.sqrt(depth * (2 * depth.max() - depth)) / depth.max())
        self._free = self._coarse(inside | (numbers[cut] == 0))
        #: Width of a peak of the particle's power spectrum [1/Å].
        self._width = 1 / (pixel_size_angstrom * math.sqrt(np.pi * inside.sum()))

    def _coarse(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        from skimage.transform import downscale_local_mean

        return np.asarray(downscale_local_mean(values, (self._block, self._block)))

    def _envelope(self, frequency: Frequency) -> NDArray[np.complex64]:
        """Return the complex envelope of the fringes of a frequency."""
        down, right = (np.exp(-2j * np.pi * q * r) for q, r in zip(frequency[::-1], (self._y, self._x), strict=True))
        return self._coarse(self._image * np.outer(down, right)).astype(np.complex64)

    def _copies(self, frequency: Frequency, delocalisation: float) -> tuple[_Image, _Image]:
        """Return where the two copies are, and how thick."""
        move = np.array(frequency[::-1]) * delocalisation / self._pixel
        one, two = (ndimage.shift(self._thickness, s * move, order=1) * self._free for s in (1, -1))
        return one, two

    def fit(self, frequency: Frequency, delocalisation: float) -> tuple[Frequency, float]:
        """Return the frequency [1/Å] near another one under which two copies explain most power, and the logarithm of that power."""
        one, two = self._copies(frequency, delocalisation)
        own, shared = float((one**2).sum()), float((one * two).sum())
        envelope = self._envelope(frequency)
        parts = envelope * one, envelope * two
        y, x = (self._pixel * np.arange(n) for n in one.shape)
        dx = dy = 0.0
        for step in _STEPS:
            across, along = (d + step * self._width * np.arange(-_AROUND, _AROUND + 1) for d in (dx, dy))
            down, right = np.exp(-2j * np.pi * np.outer(along, y)), np.exp(-2j * np.pi * np.outer(x, across))
            first, second = (down @ part @ right for part in parts)
            power = np.abs(first + _PHASES * second) ** 2 / (2 * (own * 1.000001 + _PHASES.real * shared))
            _, i, j = np.unravel_index(int(power.argmax()), power.shape)
            dx, dy = float(across[j]), float(along[i])
        return (frequency[0] + dx, frequency[1] + dy), math.log(float(power.max()) + 1e-30)

    def bend(self, frequency: Frequency, delocalisation: float) -> float:
        """Return the standard deviation of the local frequency along itself, over it, weighted by the fringes' power."""
        counts = np.hypot(*self._copies(frequency, delocalisation)) > _COUNTS
        envelope = ndimage.gaussian_filter(self._envelope(frequency) * counts, _LOCAL / self._pixel)
        down, right = np.gradient(envelope, self._pixel)
        power = np.abs(envelope) ** 2 * counts
        qx, qy = np.array(frequency) / (length := math.hypot(*frequency))
        slope = ((right * qx + down * qy) * envelope.conj()).imag
        # The local frequency beside the fitted one [1/Å].
        local = slope / np.maximum(np.abs(envelope) ** 2, 1e-30) / (2 * np.pi)
        mean = np.average(local, weights=power)
        return math.sqrt(float(np.average((local - mean) ** 2, weights=power))) / length


def common_delocalisation(peaks: Sequence[tuple[Fringes, Frequency]]) -> float:
    """Return the λ·defocus [Å²] that explains most power of the peaks of an image's particles, each a particle and a frequency."""
    powers = [sum(fringes.fit(q, s)[1] for fringes, q in peaks) for s in DELOCALISATIONS]
    return float(DELOCALISATIONS[int(np.argmax(powers))])
