"""Predictions of many micrographs by a model of a task other than segmentation: skip what is finished, do the rest, write a table."""

import html
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from passband.base.errors import BadInputError, JobFailedError, named, parameter, plain
from passband.base.version import __version__
from passband.execution.base import Executor, Progress, StageProgress
from passband.figures import prediction_overlay, style
from passband.files.atomic import json_text, locked, read_json, remove_leftovers, write_files
from passband.files.jobs import Job, run_job
from passband.files.tables import parquet
from passband.micrographs.formats.decode import Frames
from passband.micrographs.micrograph import Calibration
from passband.micrographs.reading import read_micrographs
from passband.micrographs.write_tiff import write_tiff
from passband.models.image_prediction import PREDICTED, ImagePrediction, predict_image
from passband.models.outputs import places
from passband.models.store import Model, read_model, require_task
from passband.sessions.image_files import PREDICTIONS, ImageFiles
from passband.sessions.image_job import digest_of

#: Columns of the table of a run.
COLUMNS = {
    **{"file": pl.String, "frame": pl.Int64, "pixel_size_angstrom": pl.Float64, "quantity": pl.String},
    **{"value": pl.Float64, "low": pl.Float64, "high": pl.Float64, "unit": pl.String, "columns": pl.Int64},
    **{"results": pl.String, "fault": pl.String},
}
_TABLE = "predictions"
# Share of the time of an image that its network takes.
_NETWORK = 0.8
# Images that a worker is started for at least.
_A_WORKER = 8
# Images that a run names in its text.
_NAMED = 20


@dataclass(frozen=True)
class PredictionJob(Job):
    """One file: its results lie in `out` at `place`, and a record, written last, names what they were made of."""

    model: Path
    model_digest: str
    path: Path
    digest: str
    out: Path
    #: Where its results go, relative to `out`.
    place: Path
    given: Calibration = field(default_factory=Calibration)
    frames: Frames = None

    @property
    def label(self) -> str:
        """The name of the file."""
        return self.path.name

    @property
    def record_file(self) -> Path:
        """The file that says what the results are of."""
        return self.out / self.place.with_name(f"{self.place.name}{PREDICTIONS}")

    @property
    def made_by(self) -> dict[str, Any]:
        """What decides the results."""
        return {
            "model_digest": self.model_digest,
            "image": plain(self.path.absolute()),
            "file": self.digest,
            "given": asdict(self.given),
            "frames": self.frames,
            "passband": __version__,
        }

    def images(self) -> list[dict[str, Any]]:
        """Return what is known of each image of a finished file."""
        return list(read_json(self.record_file)["images"])

    def is_finished(self) -> bool:
        """Tell whether all results are there, and of this file and model."""
        record = read_json(self.record_file)
        if not isinstance(record, dict) or record.get("made_by") != self.made_by:
            return False
        return all((self.out / name).is_file() for image in record["images"] for name in image["files"].values())

    def run(self, progress: Progress) -> None:
        """Predict and write; JobFailedError with the reason if the file cannot be used."""
        if self.is_finished():
            progress(1.0)
            return
        try:
            self._check_place()
            micrographs = read_micrographs(self.path, frames=self.frames, **vars(self.given))
            images, share = [], 1.0 / len(micrographs)
            for i, micrograph in enumerate(micrographs):
                done = 0.0

                def tiles(finished: int, total: int) -> None:
                    nonlocal done
                    if finished:
                        progress(share * _NETWORK * (finished / total - done))
                        done = finished / total

                found = predict_image(_loaded(self.model, self.model_digest), micrograph, progress=tiles)
                images.append(self._written(found, f"{i:04d}" if len(micrographs) > 1 else ""))
                progress(share * (1 - _NETWORK))
        except BadInputError as error:
            raise JobFailedError(error.text(parameter)) from None
        content = {"made_by": self.made_by, "images": images}
        write_files({self.record_file: lambda file: file.write_text(json_text(content), encoding="utf-8")})

    def _check_place(self) -> None:
        """Refuse results of another image or model in the place of these."""
        record = read_json(self.record_file)
        made_by = record.get("made_by", {}) if isinstance(record, dict) else {}
        if made_by and any(made_by.get(key) != self.made_by[key] for key in ("model_digest", "image")):
            what = f"has results of another image or model named {self.place.name}"
            remedy = f"choose another {parameter('folder')}, or delete them first"
            raise BadInputError(what, remedy=remedy, place=self.out)

    def _written(self, found: ImagePrediction, frame: str) -> dict[str, Any]:
        """Write the files of an image, and return its plain data with their names."""
        start = self.place.with_name(f"{self.place.name}_{frame}" if frame else self.place.name)
        names, writers = dict[str, str](), dict[Path, Callable[[Path], object]]()

        def add(what: str, ending: str, write: Callable[[Path], object]) -> None:
            names[what] = str(start.with_name(f"{start.name}_{ending}"))
            writers[self.out / names[what]] = write

        task, predicted, columns = found.card.task, found.map, found.columns
        if predicted is not None:
            pixel = found.micrograph.pixel_size_angstrom
            add("map", f"{task}.tif", lambda file: write_tiff(file, predicted, pixel))
        if columns is not None:
            rounded = columns.with_columns(pl.selectors.float().round(3))
            add("table", f"{task}.csv", lambda file: rounded.write_csv(file))
        with style.figure(*prediction_overlay.SIZE) as made:
            if predicted is not None:
                found.overlay(made)
                add("overlay", f"{task}.png", lambda file: made.savefig(file, format="png"))
            if writers:
                write_files(writers)
        return found.to_dict() | {"frame": int(frame) if frame else None, "headline": found.headline, "files": names}


@lru_cache(maxsize=1)
def _loaded(folder: Path, digest: str) -> Model:
    model = read_model(folder)
    if model.card.digest != digest:
        raise BadInputError("was changed during the run", remedy="run again", place=folder)
    return model


@dataclass(frozen=True, eq=False, repr=False)
class PredictionRun:
    """Predictions of a model for many images.

    Attributes:
        model: its name.
        folder: of the results.
        table: a row an image: file, frame, pixel_size_angstrom [Å]; quantity, value, low, high, unit of tasks with a value of the image;
            columns, the number of atomic columns; results, what the names of its files start with; fault, why it could not be used.
        images: the same in full, a dictionary each.
        notes: on the files, in sentences.
        lines: what is predicted of each image.
    """

    model: str
    folder: Path
    table: pl.DataFrame
    images: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    lines: tuple[str, ...]

    @property
    def failed(self) -> int:
        """The number of images that could not be used."""
        return int(self.table["fault"].count())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "model": self.model,
            "images": list(self.images),
            "failed": self.failed,
            "notes": list(self.notes),
            "table": str(self.folder / f"{_TABLE}.csv"),
        }

    def __str__(self) -> str:
        """Return a line an image, what has to be known of the predictions, and the path of the table."""
        more = [f"and {len(self.lines) - _NAMED} more"] if len(self.lines) > _NAMED else []
        said = dict.fromkeys(note for image in self.images for note in image.get("notes", []))
        maps = "; maps and overlays beside it" if any(image.get("map") for image in self.images) else ""
        where = f"table: {self.folder / _TABLE}.csv{maps}"
        return "\n".join([*self.lines[:_NAMED], *more, *self.notes, *said, where])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(f"<p>{html.escape(line)}</p>" for line in str(self).splitlines())


def workers_for(images: int, most: int) -> int:
    """Return the processes that so many images take: starting one takes as long as some images do."""
    return max(min(most, images // _A_WORKER), 1)


def run_predictions(
    model: Model,
    files: ImageFiles,
    out: Path,
    executor: Executor,
    progress: StageProgress,
    *,
    given: Calibration | None = None,
    frames: Frames = None,
    name: Callable[[str], str] = str,
) -> PredictionRun:
    """Predict each file but for what is finished, and write maps, overlays and the table into a folder.

    A finished file is known by its content and the model's. If the folder has predictions of another model, these go into one in it, named
    after the model. `name` writes the parameters in reasons.

    Raises:
        BadInputError: if the model segments, no file can be used, or another run writes into the folder.
    """
    require_task(model.card, *PREDICTED)
    try:
        with locked(out / ".lock", wait=False):
            return _run(model, files, out, executor, progress, given or Calibration(), frames, name)
    except BlockingIOError:
        what, remedy = "another run writes its results here", f"wait for it, or choose another {parameter('folder')}"
        raise BadInputError(what, remedy=remedy, place=out) from None


def _folder_for(model: Model, out: Path, places: list[Path]) -> Path:
    """Return where to write: the folder, or one in it named after the model if the folder has predictions of another one."""
    files = {*out.glob(f"*{PREDICTIONS}"), *(out / p.with_name(f"{p.name}{PREDICTIONS}") for p in places)}
    records = [record for file in files if isinstance(record := read_json(file), dict)]
    alone = all(record.get("made_by", {}).get("model_digest") == model.card.digest for record in records)
    return out if alone else out / model.card.name


def _run(
    model: Model,
    files: ImageFiles,
    out: Path,
    executor: Executor,
    progress: StageProgress,
    given: Calibration,
    frames: Frames,
    name: Callable[[str], str],
) -> PredictionRun:
    jobs, faults = dict[Path, PredictionJob](), dict[Path, str]()
    about, where = (model.folder.resolve(), str(model.card.digest)), places(files.paths)
    out = _folder_for(model, out, where)
    for path, place in zip(files.paths, where, strict=True):
        try:
            jobs[path] = PredictionJob(*about, path, digest_of(path)[0], out, place, given, frames)
        except BadInputError as error:
            faults[path] = error.text(parameter)
    remove_leftovers(*{(out / job.place).parent for job in jobs.values()}, shared=True)
    left = [job for job in jobs.values() if not job.is_finished()]
    advance = progress.stage("images", len(jobs), len(jobs) - len(left))
    for failure in executor.map(run_job, left, advance):
        faults[failure.task.path] = failure.reason
    rows: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    lines: list[str] = []
    for path in files.paths:
        if path in faults:
            reason = plain(named(faults[path], name))
            rows.append({"file": plain(path), "fault": reason})
            images.append({"image": plain(path.name), "file": plain(path), "error": reason})
            lines.append(reason if path.name in reason else f"{plain(path.name)}: {reason}")
            continue
        for image in jobs[path].images():
            frame = image["frame"]
            shot = plain(path.name if frame is None else f"{path.name}#{frame}")
            lines.append(f"{shot}: {image['headline']}")
            paths = {what: str(out / file) for what, file in image["files"].items()}
            images.append(image | {"image": shot, "file": plain(path), "files": paths})
            start = str(jobs[path].place) + ("" if frame is None else f"_{frame:04d}")
            rows.append({k: image.get(k) for k in COLUMNS} | {"file": plain(path), "results": start, "fault": None})
    table = pl.DataFrame(rows, schema=COLUMNS)
    if len(faults) == len(files.paths):
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise BadInputError(f"{rows[0]['fault']}{more}", place="no image can be used" if more else None)
    write_files(
        {
            out / f"{_TABLE}.parquet": lambda file: file.write_bytes(parquet(table)),
            out / f"{_TABLE}.csv": lambda file: table.with_columns(pl.selectors.float().round(4)).write_csv(file),
        }
    )
    return PredictionRun(model.card.name, out, table, tuple(images), files.notes, tuple(lines))
