"""One image of a microscope with its metadata: what readers return and all analysis takes."""

import math
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter, plain

#: Pixel sizes of high-resolution TEM images [Å], energies of transmission electron microscopes [eV] and doses of micrographs [e/Å²].
PIXEL_SIZE_ANGSTROM, ENERGY_EV, _DOSE = (0.02, 3.0), (20e3, 3e6), (0.0, 1e7)
#: Smallest and largest side of a micrograph [pixels].
SIDE_PIXELS = (64, 16384)
# Longest side on a screen [pixels].
_SHOWN_PIXELS = 2048
# What single precision and the sums of a network take without loss: contrast (normalising stops at deviations of 1e-6), and offset
# relative to the contrast.
_CONTRAST, _MOST_OFFSET = (1e-3, 1e12), 1e4
# An image has at least this many steps of its floating-point numbers between its least and greatest value.
_LEAST_STEPS = 16
_SAMPLED_PIXELS = 200_000


@dataclass(frozen=True)
class Calibration:
    """What a user says of an image; None leaves it to the file. Values are positive."""

    pixel_size_angstrom: float | None = None  #: of the image, square [Å]
    energy_ev: float | None = None  #: of the electrons [eV]
    dose_per_angstrom2: float | None = None  #: of the image [e/Å²]

    def __post_init__(self) -> None:
        for (name, value), unit in zip(vars(self).items(), ("Å", "eV", "e/Å²"), strict=True):
            if value is not None and not (math.isfinite(value) and value > 0):
                what = f"{parameter(name)} {value:g}: has to be a positive number"
                raise BadInputError(what, value=value, limit=0, remedy=f"give it in {unit}")


@dataclass(frozen=True, eq=False)
class Micrograph:
    """One image of a microscope.

    Attributes:
        intensity: (h, w) as the detector recorded it: linear in the intensity, of any scale and offset. It becomes float32; what
            float32 would blur (an offset of 1e8, currents of 1e-12) becomes (intensity − offset) / gain.
        pixel_size_angstrom: of the image, square [Å].
        energy_ev: of the electrons, if known [eV].
        dose_per_angstrom2: if known [e/Å²].
        name: of the file or array, for messages and names of outputs.
        notes: on metadata, assumptions and repairs, in sentences.
        scanned: whether a STEM or SEM recorded it, which networks for HRTEM do not know.
        offset: of the recorded intensity.
        gain: of the recorded intensity.

    Raises:
        BadInputError: if the shape, the values or a calibration cannot be those of a micrograph.
    """

    intensity: NDArray[Any]
    pixel_size_angstrom: float
    energy_ev: float | None = None
    dose_per_angstrom2: float | None = None
    name: str = "array"
    notes: tuple[str, ...] = ()
    scanned: bool = False
    offset: float = 0.0
    gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", _one_line(self.name))
        object.__setattr__(self, "notes", tuple(_one_line(note) for note in self.notes))
        shape, (low, high) = self.intensity.shape, SIDE_PIXELS
        if len(shape) != 2 or not all(low <= side <= high for side in shape):
            limit = f"a micrograph is an image of {low} to {high} pixels a side"
            raise BadInputError(f"has shape {shape}; {limit}", place=self.name)
        intensity, offset, gain = _in_single_precision(self.intensity, self.name)
        object.__setattr__(self, "intensity", intensity)
        if (offset, gain) != (0.0, 1.0):
            object.__setattr__(self, "offset", self.offset + self.gain * offset)
            object.__setattr__(self, "gain", self.gain * gain)
        self._check("pixel_size_angstrom", "pixel size", "Å", PIXEL_SIZE_ANGSTROM, "a high-resolution TEM image")
        self._check("energy_ev", "energy", "eV", ENERGY_EV, "a transmission electron microscope")
        self._check("dose_per_angstrom2", "dose", "e/Å²", _DOSE, "a micrograph")

    def _check(self, name: str, noun: str, unit: str, limit: tuple[float, float], subject: str) -> None:
        value, (low, high) = getattr(self, name), limit
        if value is not None and not (low <= value <= high and value > 0):
            what = f"its {noun} of {value:g} {unit} is not that of {subject} ({low:g} to {high:g} {unit})"
            remedy = f"give the right one with {parameter(name)}"
            raise BadInputError(what, value=value, limit=limit, remedy=remedy, place=self.name)

    def grey(self) -> tuple[NDArray[np.uint8], int]:
        """Return the image in shades of grey, 1st to 99th percentile, at most 2048 pixels a side, and the pixels averaged along a side."""
        step = max(-(-max(self.intensity.shape) // _SHOWN_PIXELS), 1)
        h, w = (side // step for side in self.intensity.shape)
        small = self.intensity[: h * step, : w * step].reshape(h, step, w, step).mean((1, 3))
        low, high = np.percentile(small, [1, 99])
        return np.clip((small - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8), step

    def _repr_png_(self) -> bytes:
        from PIL import Image

        content = BytesIO()
        Image.fromarray(self.grey()[0]).save(content, format="PNG")
        return content.getvalue()

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"  {note}" for note in self.notes)])


def _one_line(text: str) -> str:
    return plain(" ".join(text.split()))


def _in_single_precision(pixels: NDArray[Any], name: str) -> tuple[NDArray[np.float32], float, float]:
    """Return an image as float32, and the offset and gain that were taken out of it where float32 would blur it."""
    if pixels.dtype.kind not in "biuf":
        raise BadInputError(f"holds values of type {pixels.dtype.name[:40]}; give real numbers", place=name)
    if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
        raise BadInputError("holds values that are not finite; repair or crop it first", place=name)
    low, high = pixels.min(), pixels.max()
    if low == high:
        what = f"every pixel has the value {low:g}, so there is no image in it"
        raise BadInputError(what, remedy="export it again", place=name)
    top = max(abs(float(low)), abs(float(high)))
    levels = float(high / _LEAST_STEPS - low / _LEAST_STEPS)
    if pixels.dtype.kind == "f" and levels < np.spacing(pixels.dtype.type(top)):
        what = f"its values, {low!s} to {high!s}, differ by less than {_LEAST_STEPS} steps of {pixels.dtype.name}"
        remedy = "subtract the offset before saving it"
        raise BadInputError(f"{what}, so there is no image in it", remedy=remedy, place=name)
    base = 0
    if pixels.dtype.kind in "iu" and top > 2.0**53:
        # Beyond double precision only differences of integers are exact.
        base = int(low)
        pixels = pixels.view(np.uint64) - np.uint64(base % 2**64)
    # Powers of two keep every number exact, from denormal ones to the largest.
    power = math.frexp(top)[1] if pixels.dtype.kind == "f" else 0
    step = max(pixels.size // _SAMPLED_PIXELS, 1) | 1
    sample = np.ldexp(pixels.ravel()[::step].astype(np.float64), -power)
    first, centre, last = (float(v) for v in np.quantile(sample, [0.01, 0.5, 0.99]))
    # In a sparse image almost all pixels are alike.
    contrast = last - first or float(np.ldexp(float(high), -power) - np.ldexp(float(low), -power))
    in_range = _CONTRAST[0] <= contrast * 2.0 ** min(power, 1000) <= _CONTRAST[1]
    if not base and in_range and abs(centre) <= _MOST_OFFSET * contrast:
        return np.ascontiguousarray(pixels, dtype=np.float32), 0.0, 1.0
    values = (np.ldexp(pixels.astype(np.float64), -power) - centre) / contrast
    offset, gain = (min(float(np.ldexp(v, power)), 1e308) for v in (centre, contrast))
    return np.clip(values, -1e30, 1e30).astype(np.float32), offset + base, gain
