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
    """One axis of a data set."""

    size: int  #: number of pixels
    name: str = ""  #: as in the file, in lower case
    units: str = ""  #: in one spelling (`units.tidy`); empty if unknown
    scale: float | None = None  #: distance between pixels in these units
    stacked: bool | None = None  #: whether the axis counts images; None if the file does not say


@dataclass(frozen=True)
class Dose:
    """Doses in the metadata of a data set [e/Å²]."""

    plain: float | None = None  #: of a lone image or a whole movie
    total: float | None = None  #: of all images
    frame: float | None = None  #: of each frame of a movie; how many of them are in a lone image is unknown
    image: float | None = None  #: of each image
    listed: tuple[float, ...] = ()  #: of each image, one by one

    def of(self, index: int | None, count: int | None, movie: bool) -> float | None:
        """Return the dose of image `index` of a stack of `count` (None: of their sum), or of a lone image (`count` None).

        It is None if no dose follows, or two contradict each other.
        """
        each = self.frame or self.image
        if count is None:
            some = [self.plain, self.total, self.image, *self.listed[:1]]
        elif index is not None:
            some = [*self.listed[index : index + 1], each]
        else:
            whole = sum(self.listed) if len(self.listed) == count else None
            some = [self.total, whole, count * each if each else self.plain if movie else None]
        known = [dose for dose in some if dose]
        return known[0] if known and max(known) < 1.01 * min(known) else None


@dataclass(frozen=True)
class Dataset:
    """One data set of a file."""

    axes: tuple[Axis, ...]  #: in the order of the array; the rows and columns of an image are as stored
    dtype: np.dtype[Any]  #: of the pixels
    frame: Frame  #: decodes one image
    fault: str | None = None  #: why it is no image, if the reader knows
    energy_ev: float | None = None  #: of the electrons, if in the file [eV]
    dose: Dose = Dose()  #: if in the file
    scanned: bool = False  #: whether a STEM or SEM recorded it
    colour: bool = False  #: whether each pixel has several channels
    origin: str = "from the file"  #: of the pixel size
    uncalibrated: str = ""  #: why there is no pixel size, if the reader knows
    notes: tuple[str, ...] = ()  #: for the user, in sentences


def axis(entry: Mapping[str, Any]) -> Axis:
    """Return an axis from its dictionary in RosettaSciIO or HyperSpy."""
    scale, name, stacked = (entry.get(key) for key in ("scale", "name", "navigate"))
    known = isinstance(scale, int | float | np.integer | np.floating) and math.isfinite(scale) and scale != 0
    return Axis(
        size=int(entry["size"]) if "size" in entry else len(entry["axis"]),
        name=name.lower() if isinstance(name, str) else "",
        units=units.tidy(entry.get("units")),
        scale=abs(float(scale)) if known and scale is not None else None,
        stacked=None if stacked is None else bool(stacked),
    )


def dataset(data: Any, axes: list[Axis], **facts: Any) -> Dataset:
    """Return the data set of an array (of NumPy or h5py, or lazy) without its axes of length 1."""
    shape, names = data.shape, data.dtype.names or ()
    if len(axes) != len(shape):
        raise BadInputError(f"describes {len(axes)} axes and holds data of shape {shape}; export it again")
    used = [i for i, size in enumerate(shape) if size != 1 or len(shape) <= 2]
    colour = set(names) & set("RGBA") != set()

    def frame(along: int | None, index: int) -> NDArray[Any]:
        place: list[Any] = [slice(None) if i in used else 0 for i in range(len(shape))]
        if along is not None:
            place[used[along]] = index
        pixels = np.asarray(data[tuple(place)])
        return np.stack([pixels[name] for name in names], axis=-1) if colour else pixels

    dtype = data.dtype[0] if colour else np.dtype(data.dtype)
    return Dataset(tuple(axes[i] for i in used), dtype, frame, colour=colour, **facts)


def claimed(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    """Return the bytes that an array would have."""
    return math.prod(int(size) for size in shape) * np.dtype(dtype).itemsize
