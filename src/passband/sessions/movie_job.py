"""The work on one movie: its drift, and the sum of a group of frames segmented and judged; what is finished is known by its content."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.base.errors import BadInputError, JobFailedError, parameter
from passband.execution.base import Progress
from passband.files.atomic import read_json, write_file, write_json
from passband.files.jobs import REVISIONS, FolderJob
from passband.files.tables import parquet, read_table
from passband.micrographs.align import Alignment, align, common_area
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.movie import Movie
from passband.micrographs.write_tiff import write_tiff
from passband.models import outputs
from passband.sessions import thumbnail
from passband.sessions.image_job import Settings, analyse
from passband.verdicts.verdict_model import VerdictModel

#: Start of the names of what is written of the aligned sum.
SUM = "aligned_sum"
_FOUND, _PARTICLES, _THUMBNAIL, _DRIFT = "found.json", "particles.parquet", "thumbnail.jpg", "drift.json"
# Dose of a group for a model without verdicts [e/Å²], and quantile of the doses that others were calibrated under.
_DOSE, _QUANTILE = 100.0, 0.25
# Shares of a group's time that summing takes, and all but segmenting after it.
_SUMMED, _REST = 0.2, 0.3


@dataclass(frozen=True, eq=False)
class Drift:
    """A movie with the place of its specimen in each frame; blank frames have the place of their neighbours."""

    movie: Movie
    alignment: Alignment

    @cached_property
    def area(self) -> tuple[slice, slice]:
        """Rows and columns that all frames show, in the first one."""
        return common_area(self.alignment.shifts[self.movie.exposed], self.movie.shape)

    @property
    def dose_per_angstrom2(self) -> float:
        """Dose of a frame: as known, or that of a perfect camera with the noise of this one [e/Å²]."""
        return self.movie.dose_per_angstrom2 or 1 / (self.alignment.noise * self.movie.pixel_size_angstrom**2)

    def within_frame(self) -> NDArray[np.float64]:
        """Return how far the specimen moves from one frame to the next, at each frame [Å]."""
        steps = np.gradient(self.alignment.shifts, axis=0)
        return np.hypot(*steps.T) * self.movie.pixel_size_angstrom

    def groups(self, model: VerdictModel | None) -> list[list[int]]:
        """Return the frames of each group, in order: as few as reach the lower quartile of the doses that a model was calibrated under."""
        together = max(math.ceil(least_dose(model) / self.dose_per_angstrom2 - 1e-6), 1)
        used = self.movie.exposed
        return [part.tolist() for part in np.array_split(used, max(len(used) // together, 1))]


def least_dose(model: VerdictModel | None) -> float:
    """Return the dose that a group of frames should have [e/Å²]."""
    doses = [] if model is None else [c.dose_per_angstrom2 for c in model.domain.conditions if c.dose_per_angstrom2]
    return float(np.quantile(doses, _QUANTILE)) if doses else _DOSE


@dataclass(frozen=True, eq=False)
class DriftJob(FolderJob):
    """The drift of a movie whose frames were unpacked into a folder."""

    kind = "drift"
    out: Path
    source: dict[str, Any]
    movie: Movie | None = None
    unpacked: Path | None = None

    @property
    def home(self) -> Path:
        """The folder of what is finished."""
        return self.out / "finished"

    @property
    def label(self) -> str:
        """What is made."""
        return "drift"

    @cached_property
    def content(self) -> dict[str, Any]:
        """The movie, and what the user says of it."""
        return {"revision": REVISIONS[self.kind], **self.source}

    def make(self, folder: Path, progress: Progress) -> None:
        """Align the frames; BadInputError if that is not possible."""
        assert self.movie is not None and self.unpacked is not None
        movie, place = self.movie, self.unpacked
        used = movie.exposed
        try:
            found = align(lambda i: movie.frame(place, used[i]), len(used), progress)
        except BadInputError as error:
            error.place = error.place or movie.name
            raise
        shifts, deviations = (
            np.stack([np.interp(np.arange(len(movie.means)), used, values[:, axis]) for axis in (0, 1)], axis=1)
            for values in (found.shifts, found.deviations)
        )
        known = {key: getattr(found, key) for key in ("frames_together", "noise", "pattern")}
        content = {"movie": asdict(movie), "shifts": shifts.tolist(), "deviations": deviations.tolist(), **known}
        write_json(folder / _DRIFT, content)

    def drift(self, name: str) -> Drift:
        """Return what was found; the file may have another name since."""
        content = read_json(self.folder / _DRIFT)
        movie = Movie.of(name, {key: value for key, value in content["movie"].items() if key != "name"})
        shifts, deviations = (np.array(content[key]) for key in ("shifts", "deviations"))
        rest = (content[key] for key in ("frames_together", "noise", "pattern"))
        return Drift(movie, Alignment(shifts, deviations, *rest))


@dataclass(frozen=True, eq=False)
class GroupJob(FolderJob):
    """Some frames of a movie: their sum, segmented and judged."""

    kind = "group"
    settings: Settings
    source: dict[str, Any]
    drift: Drift
    frames: tuple[int, ...]
    #: Folder with the frames.
    unpacked: Path
    #: For the sum of the movie: what its files note as their origin.
    made_by: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The folder of finished groups."""
        return self.settings.out / "finished"

    @property
    def numbers(self) -> tuple[int, int]:
        """First and last frame, as the file counts them."""
        return self.drift.movie.first + self.frames[0], self.drift.movie.first + self.frames[-1]

    @property
    def label(self) -> str:
        """The frames."""
        first, last = self.numbers
        return f"frames {first} to {last}" if last > first else f"frame {first}"

    @cached_property
    def content(self) -> dict[str, Any]:
        """The movie, the frames, and what is done with them."""
        kind = {"revision": REVISIONS[self.kind], **self.source, "group": self.frames, "sum": bool(self.made_by)}
        return json.loads(json.dumps(kind | {"settings": self.settings.content}))

    @property
    def place(self) -> Path:
        """Folder and start of the names of what is written of the sum."""
        return self.settings.out / SUM

    def is_finished(self) -> bool:
        """Tell whether all results are there; those of the sum lie beside the page."""
        files = [self.place.parent / name for name in outputs.names(SUM).values()] + [self.place.with_suffix(".tif")]
        return super().is_finished() and (not self.made_by or all(file.is_file() for file in files))

    def make(self, folder: Path, progress: Progress) -> None:
        """Sum, segment and judge; JobFailedError with the reason if that cannot be done."""
        movie, alignment = self.drift.movie, self.drift.alignment
        name = movie.name if self.made_by else f"{movie.name}#{self.numbers[0]}"
        notes = [f"{len(self.frames)} frames ({self.label}), aligned and summed"]
        try:
            shot = movie.summed(self.unpacked, self.frames, alignment.shifts, self.drift.area, name, notes)
            progress(_SUMMED)
            found = analyse(self.settings, shot, progress)
        except BadInputError as error:
            raise JobFailedError(error.text(parameter)) from None
        assert found.segmentation is not None
        if self.made_by:
            write_file(self.place.with_suffix(".tif"), lambda file: write_sum(file, shot))
            outputs.write_outputs(self.place, found.segmentation, self.made_by)
        (folder / _PARTICLES).write_bytes(parquet(found.segmentation.particles))
        (folder / _THUMBNAIL).write_bytes(thumbnail.jpeg(shot, found.segmentation))
        write_json(folder / _FOUND, {"row": found.row(), "answer": found.answer("segment")})
        progress(_REST)

    def found(self) -> dict[str, Any]:
        """Return row and answer; parameters in sentences are marked."""
        return dict(read_json(self.folder / _FOUND))

    def particles(self) -> pl.DataFrame:
        """Return the table of particles, in Å from the upper left pixel of the area that all frames show."""
        return read_table(self.folder / _PARTICLES)

    @property
    def thumbnail(self) -> Path:
        """The small picture."""
        return self.folder / _THUMBNAIL


def write_sum(path: Path, shot: Micrograph) -> None:
    """Write a sum with its scale, dose and energy, which every reader of passband finds."""
    noted = {"Dose (e-/A^2)": shot.dose_per_angstrom2, "Energy (eV)": shot.energy_ev, "Software": "passband"}
    known = {name: value for name, value in noted.items() if value is not None}
    write_tiff(path, shot.intensity, shot.pixel_size_angstrom, known)


def reasons_against(drift: Drift, groups: Sequence[GroupJob], rows: Sequence[dict[str, Any]], blur: float) -> list[str]:
    """Return for each frame why it should be left out; an empty text where it should not."""
    reasons = [""] * len(drift.movie.means)
    for group, row in zip(groups, rows, strict=True):
        if row.get("verdict") == "no":
            for i in group.frames:
                reasons[i] = f"the model does not work on {group.label}"
    for i, moved in enumerate(drift.within_frame()):
        if moved > blur:
            reasons[i] = f"moves by {moved:.1f} Å within the frame, and {blur:g} Å blurs the lattice"
    for i in drift.movie.blank:
        reasons[i] = "blank"
    return reasons
