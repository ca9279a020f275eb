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
class Dose:
    """Doses in the metadata of a data set [e/Å²].

    Attributes:
        plain: of a lone image or a whole movie.
        total: of all images.
        frame: of each frame of a movie; how many of them are in a lone image is unknown.
        image: of each image.
        listed: of each image, one by one.
    """

    plain: float | None = None
    total: float | None = None
    frame: float | None = None
    image: float | None = None
    listed: tuple[float, ...] = ()

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
    """One data set of a file.

    Attributes:
        axes: in the order of the array; the rows and columns of an image are as stored.
        dtype: of the pixels.
        frame: decodes one image.
        fault: why it is no image, if the reader knows.
        energy_ev: of the electrons, if in the file [eV].
        dose: if in the file.
        scanned: whether a STEM or SEM recorded it.
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
    dose: Dose = Dose()
    scanned: bool = False
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
