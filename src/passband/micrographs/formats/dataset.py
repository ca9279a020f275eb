"""What a reader finds in a file before it decodes any pixels."""

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
        name: as the file has it, in lower case.
        units: tidy; empty if not known.
        scale: distance between pixels in these units, or None.
        stacked: whether the file says that the axis counts images; None if it says nothing.
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
        energy_ev: of the electrons, if the file says it [eV].
        dose_per_angstrom2: if the file says it [e/Å²].
        colour: whether each pixel has several channels.
        origin: where the calibration comes from.
        uncalibrated: why there is no pixel size, if the reader knows.
        said: what else there is to say.
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
    said: tuple[str, ...] = ()


def axis(found: Mapping[str, Any]) -> Axis:
    """Return an axis from its dictionary in RosettaSciIO or HyperSpy."""
    scale = found.get("scale")
    known = isinstance(scale, int | float | np.integer | np.floating) and math.isfinite(scale) and scale != 0
    named = found.get("name")
    stacked = found.get("navigate")
    return Axis(
        int(found["size"]) if "size" in found else len(found["axis"]),
        named.lower() if isinstance(named, str) else "",
        units.tidy(found.get("units")),
        abs(float(scale)) if known and scale is not None else None,
        None if stacked is None else bool(stacked),
    )


def dataset(data: Any, axes: list[Axis], **facts: Any) -> Dataset:
    """Return the data set of an array (NumPy's, or a lazy one), without its axes of length 1."""
    if len(axes) != len(data.shape):
        raise BadInputError(f"describes {len(axes)} axes and holds data of shape {data.shape}; export it again")
    kept = [i for i, size in enumerate(data.shape) if size != 1 or len(data.shape) <= 2]
    if len(kept) < len(data.shape):
        data = data.squeeze(axis=tuple(i for i in range(len(data.shape)) if i not in kept))

    def frame(along: int | None, index: int) -> NDArray[Any]:
        return np.asarray(data if along is None else data[(slice(None),) * along + (index,)])

    colour = set(data.dtype.names or ()) & set("RGBA") != set()
    if colour:
        names = data.dtype.names

        def coloured(along: int | None, index: int) -> NDArray[Any]:
            pixels = frame(along, index)
            return np.stack([pixels[name] for name in names], axis=-1)

        return Dataset(tuple(axes[i] for i in kept), data.dtype[0], coloured, colour=True, **facts)
    return Dataset(tuple(axes[i] for i in kept), np.dtype(data.dtype), frame, **facts)


def claimed(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    """Return the bytes that an array would have."""
    return math.prod(int(size) for size in shape) * np.dtype(dtype).itemsize
