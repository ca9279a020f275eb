"""A movie whose frames lie on disk: read one by one, and summed where its specimen lies."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.files.atomic import require_space
from passband.micrographs.align import moved_back
from passband.micrographs.cleaning import clean
from passband.micrographs.micrograph import Calibration, Micrograph
from passband.micrographs.sandbox.parse_worker import FRAMES
from passband.micrographs.sandbox.parsing import check_file, unpack_movie

#: First and last frame of a part of a movie, from 0; without a last one, to the end.
Range = tuple[int, int | None]
# A frame darker than this share of the median is blank: the beam was off.
_BLANK = 0.2


@dataclass(frozen=True, eq=False)
class Movie:
    """What is known of a movie; its frames lie in a folder while one works on it.

    Attributes:
        name: of the file.
        total: frames in the file.
        first: number of the first one that was read.
        shape: of a frame.
        dtype: of its pixels, as NumPy writes it.
        pixel_size_angstrom: [Å].
        energy_ev: of the electrons, if known [eV].
        dose_per_angstrom2: of a frame, if known [e/Å²].
        frame_seconds: from one frame to the next, if known [s].
        notes: on metadata, in sentences.
        means: mean of each frame.
        flat: whether all pixels of a frame are alike.
        scanned: whether a STEM recorded it.
    """

    name: str
    total: int
    first: int
    shape: tuple[int, int]
    dtype: str
    pixel_size_angstrom: float
    energy_ev: float | None
    dose_per_angstrom2: float | None
    frame_seconds: float | None
    notes: tuple[str, ...]
    means: tuple[float, ...]
    flat: tuple[bool, ...]
    scanned: bool = False

    @classmethod
    def of(cls, name: str, facts: dict[str, Any]) -> "Movie":
        """Return what a worker or a file says of a movie; KeyError, TypeError or ValueError if it is damaged."""
        lists = {key: tuple(facts[key]) for key in ("shape", "notes", "means", "flat")}
        return cls(**facts | lists | {"name": name})

    @cached_property
    def blank(self) -> list[int]:
        """Frames without an image, from 0 at the first that was read."""
        usual = abs(float(np.median(self.means)))
        return [i for i, (m, f) in enumerate(zip(self.means, self.flat, strict=True)) if f or abs(m) < _BLANK * usual]

    @cached_property
    def exposed(self) -> list[int]:
        """Frames that are not blank, from 0 at the first that was read."""
        blank = set(self.blank)
        return [i for i in range(len(self.means)) if i not in blank]

    def frame(self, folder: Path, index: int) -> NDArray[np.float32]:
        """Return a frame, (h, w) float32, without spikes and dead pixels."""
        dtype, pixels = np.dtype(self.dtype), self.shape[0] * self.shape[1]
        offset = index * pixels * dtype.itemsize
        image = np.fromfile(folder / FRAMES, dtype, pixels, offset=offset).reshape(self.shape)
        return clean(image.astype(np.float32)).intensity

    def summed(
        self,
        folder: Path,
        indices: Sequence[int],
        shifts: NDArray[np.float64],
        area: tuple[slice, slice],
        name: str,
        notes: Sequence[str] = (),
    ) -> Micrograph:
        """Return the sum of some frames, each moved back by its shift [pixels], in an area that all show; its dose is that of these frames."""
        total = np.zeros([part.stop - part.start for part in area])
        for i in indices:
            total += moved_back(self.frame(folder, i), shifts[i], area)
        dose = self.dose_per_angstrom2
        return Micrograph(
            total,
            self.pixel_size_angstrom,
            self.energy_ev,
            None if dose is None else dose * len(indices),
            name,
            (*self.notes, *notes),
            self.scanned,
        )


def read_movie(
    path: Path,
    folder: Path,
    frames: Range | None = None,
    given: Calibration | None = None,
    frame_seconds: float | None = None,
) -> Movie:
    """Unpack the frames of a movie into a folder, in a process of its own, and return what is known of them.

    Args:
        path: of the file.
        folder: that exists, for the frames.
        frames: a part of the movie; all of it by default.
        given: instead of what the file says; its dose is that of a frame.
        frame_seconds: from one frame to the next, instead of what the file says [s].

    Raises:
        BadInputError: if the file is no movie, or cannot be read; with file, fault and remedy.
    """
    if frame_seconds is not None and not 0 < frame_seconds < 1e6:
        what = f"{parameter('frame_seconds')} {frame_seconds:g}: has to be a positive number of seconds"
        raise BadInputError(what, value=frame_seconds, limit=(0, 1e6))
    require_space(folder, check_file(path))
    facts = unpack_movie(path, frames, given or Calibration(), folder)
    try:
        movie = Movie.of(path.name, facts | ({"frame_seconds": frame_seconds} if frame_seconds else {}))
    except (KeyError, TypeError, ValueError):
        raise BadInputError("cannot be read", remedy="copy it again, or export it as TIFF", place=path.name) from None
    if len(movie.exposed) < 2:
        what = f"{len(movie.blank)} of its {len(movie.means)} frames are blank"
        raise BadInputError(what, remedy="give the frames that were exposed", place=path.name)
    return movie
