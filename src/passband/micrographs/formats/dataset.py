"""The data sets of a file as a reader returns them, before any pixel is decoded."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from passband.base.errors import BadInputError
from passband.micrographs.formats import units

#: Returns one image of a stack along an axis, or, with no axis, the only one.
Frame = Callable[[int | None, int], NDArray[Any]]


@dataclass(frozen=True)
class Axis:
    """One axis of a data set.

    Attributes:
        size: number of pixels.
        name: as in the file, in lower case.
        units: in one spelling (`units.tidy`); empty if unknown.
        scale: distance between pixels in these units, or None.
        stacked: whether the axis counts images; None if the file does not say.
    """

    size: int
    name: str = ""
    units: str = ""
    scale: float | None = None
    stacked: bool | None = None


@dataclass(frozen=True)
class Dataset:
    """One data set of a file.

    Attributes:
        axes: in the order of the array.
        dtype: of the pixels.
        frame: decodes one image.
        fault: why it is no image, if the reader knows.
        energy_ev: of the electrons, if in the file [eV].
        dose_per_angstrom2: if in the file [e/Å²].
        colour: whether each pixel has several channels.
        origin: of the pixel size.
        uncalibrated: why there is no pixel size, if the reader knows.
        notes: for the user, in sentences.
    """

    axes: tuple[Axis, ...]
    dtype: np.dtype[Any]
    frame: Frame
    fault: str | None = None
    energy_ev: float | None = None
    dose_per_angstrom2: float | None = None
    colour: bool = False
    origin: str = "from the file"
    uncalibrated: str = ""
    notes: tuple[str, ...] = ()


def axis(entry: Mapping[str, Any]) -> Axis:
    """Return an axis from its dictionary in RosettaSciIO or HyperSpy."""
    scale = entry.get("scale")
    known = isinstance(scale, int | float | np.integer | np.floating) and math.isfinite(scale) and scale != 0
    named = entry.get("name")
    stacked = entry.get("navigate")
    return Axis(
        int(entry["size"]) if "size" in entry else len(entry["axis"]),
        named.lower() if isinstance(named, str) else "",
        units.tidy(entry.get("units")),
        abs(float(scale)) if known and scale is not None else None,
        None if stacked is None else bool(stacked),
    )


def dataset(data: Any, axes: list[Axis], **facts: Any) -> Dataset:
    """Return the data set of an array (of NumPy, or lazy) without its axes of length 1."""
    if len(axes) != len(data.shape):
        raise BadInputError(f"describes {len(axes)} axes and holds data of shape {data.shape}; export it again")
    axes_kept = [i for i, size in enumerate(data.shape) if size != 1 or len(data.shape) <= 2]
    if len(axes_kept) < len(data.shape):
        data = data.squeeze(axis=tuple(i for i in range(len(data.shape)) if i not in axes_kept))

    def frame(along: int | None, index: int) -> NDArray[Any]:
        return np.asarray(data if along is None else data[(slice(None),) * along + (index,)])

    colour = set(data.dtype.names or ()) & set("RGBA") != set()
    if colour:
        names = data.dtype.names

        def coloured(along: int | None, index: int) -> NDArray[Any]:
            pixels = frame(along, index)
            return np.stack([pixels[name] for name in names], axis=-1)

        return Dataset(tuple(axes[i] for i in axes_kept), data.dtype[0], coloured, colour=True, **facts)
    return Dataset(tuple(axes[i] for i in axes_kept), np.dtype(data.dtype), frame, **facts)


def claimed(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    """Return the bytes that an array would have."""
    return math.prod(int(size) for size in shape) * np.dtype(dtype).itemsize
