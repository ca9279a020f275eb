"""A run over many micrographs: skip what is finished, do the rest, and write the table and the pictures of all."""

import html
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from passband.base.errors import BadInputError, named, parameter, plain
from passband.execution.base import Executor, StageProgress
from passband.files.atomic import locked, remove_leftovers, write_files
from passband.files.jobs import run_job
from passband.files.tables import parquet
from passband.micrographs.formats.decode import UNALIGNED
from passband.models.outputs import places, start
from passband.sessions import contact_sheet
from passband.sessions.image_files import CONTACT_SHEET, ImageFiles
from passband.sessions.image_job import ImageJob, Settings, digest_of, state_of

#: Columns of the table; null is what is not known or was not asked for. Diameters are of particles not cut by the edge.
COLUMNS: dict[str, Any] = {
    "file": pl.String,
    "frame": pl.Int64,
    "pixel_size_angstrom": pl.Float64,
    "energy_ev": pl.Float64,
    "dose_per_angstrom2": pl.Float64,
    "defocus_angstrom": pl.Float64,
    "defocus_low_angstrom": pl.Float64,
    "defocus_high_angstrom": pl.Float64,
    "defocus_sign": pl.String,
    "astigmatism_angstrom": pl.Float64,
    "resolution_angstrom": pl.Float64,
    "verdict": pl.String,
    "zone": pl.String,
    "relative_loss": pl.Float64,
    "dice": pl.Float64,
    "dice_low": pl.Float64,
    "dice_high": pl.Float64,
    "particles": pl.Int64,
    "mean_diameter_angstrom": pl.Float64,
    "diameter_deviation_angstrom": pl.Float64,
    "particle_share": pl.Float64,
    "reasons": pl.String,
    "advice": pl.String,
    "fault": pl.String,
    "results": pl.String,
}
_SUMMARY, _SUMMARY_CSV, _PAGE = "summary.parquet", "summary.csv", "summary.html"
_DIGITS = 4
# Bytes that take seconds to read, so that progress is shown.
_SHOWN_BYTES = 2 * 10**9
# Images that a text names one by one.
_NAMED = 30
# Images that a notebook shows; the page has more.
_IN_NOTEBOOK = 60


@dataclass(frozen=True, eq=False, repr=False)
class ImageRun:
    """What a run found in many micrographs. `print` gives a line for each that needs attention, a notebook shows the contact sheet.

    Attributes:
        verb: segment, check or estimate.
        model: name of the model, or None.
        folder: of the results.
        table: one row an image, in the order of the files: `file` as given and `frame` of a stack (null of a single image);
            `pixel_size_angstrom`, `energy_ev` and `dose_per_angstrom2`, as known; from the Thon rings |defocus| with its 95 % interval
            (`defocus_angstrom`, `defocus_low_angstrom`, `defocus_high_angstrom`), `defocus_sign`, `astigmatism_angstrom` (C12) and
            `resolution_angstrom` of the last ring; `verdict` (yes, no, cannot say), `zone`, predicted loss over the in-domain loss
            (`relative_loss`), predicted `dice` with its 90 % interval (`dice_low`, `dice_high`); `particles`, mean and standard deviation of the diameters of particles not cut by the edge
            (`mean_diameter_angstrom`, `diameter_deviation_angstrom`), `particle_share` of the area; `reasons`, `advice`; `fault`, why
            the image could not be used; `results`, the start of the names of its files in the folder.
        images: the same as plain data with all details, a dictionary an image; those that failed have `image`, `file` and `error`.
        notes: on the run as a whole.
        finished_before: number of images that an earlier run had finished.
        thumbnails: file of the small picture of each image, or None.
    """

    verb: str
    model: str | None
    folder: Path
    table: pl.DataFrame
    images: tuple[dict[str, Any], ...]
    notes: tuple[str, ...]
    finished_before: int
    thumbnails: tuple[Path | None, ...]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def failed(self) -> int:
        """Number of images that could not be used."""
        return len(self.table) - self.table["fault"].null_count()

    @property
    def answer(self) -> str | None:
        """The worst verdict: no, cannot say or yes; None without verdicts."""
        verdicts = set(self.table["verdict"])
        return next((a for a in ("no", "cannot say", "yes") if a in verdicts), None)

    @property
    def all_well(self) -> bool:
        """Whether no image failed, and every verdict is yes; of `estimate`, whether every defocus is known."""
        if self.failed or self.answer in ("no", "cannot say"):
            return False
        return self.verb != "estimate" or not self.table["defocus_angstrom"].null_count()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the images, and where the files are."""
        return {
            "model": self.model,
            "answer": self.answer,
            "images": list(self.images),
            "failed": self.failed,
            "finished_before": self.finished_before,
            "notes": list(self.notes),
            "summary": str(self.folder / _SUMMARY),
            "summary_csv": str(self.folder / _SUMMARY_CSV),
            "contact_sheet": str(self.folder / CONTACT_SHEET),
            "page": str(self.folder / _PAGE),
        }

    @property
    def headline(self) -> str:
        """The run in one line."""
        counts = [(a, int((self.table["verdict"] == a).sum())) for a in ("yes", "no", "cannot say")]
        parts = [f"{count} {answer}" for answer, count in counts if count]
        known = len(self) - self.table["defocus_angstrom"].null_count()
        if self.verb == "estimate":
            parts.append(f"defocus of {known}")
        parts += [f"{self.failed} failed"] if self.failed else []
        if self.verb == "segment":
            parts.append(self._particles)
        return f"{len(self)} image{'s' * (len(self) != 1)}: {', '.join(parts) or 'no verdict'}"

    @property
    def _particles(self) -> str:
        count, mean = int(self.table["particles"].sum()), self.table["mean_diameter_angstrom"]
        text = f"{count} particle{'s' * (count != 1)}"
        middle = mean.median()
        return text if middle is None else f"{text}, median of the mean diameters {float(middle) / 10:.2f} nm"

    def __str__(self) -> str:
        rows = list(self.table.iter_rows(named=True))
        shown = rows if len(rows) <= _NAMED else [r for r in rows if r["fault"] or r["verdict"] in ("no", "cannot say")]
        lines = [self.headline, *(f"  {plain(line)}" for line in self.notes)]
        lines += [f"  {contact_sheet.caption(row)}" for row in shown[:_NAMED]]
        if len(shown) > _NAMED:
            lines.append(f"  and {len(shown) - _NAMED} more")
        return "\n".join([*lines, f"table and contact sheet: {self.folder / _SUMMARY_CSV}, {self.folder / _PAGE}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        return f"<p>{html.escape(self.headline)}</p>{notes}{contact_sheet.cards(self.table, self.thumbnails, most=_IN_NOTEBOOK)}"


def run_images(
    settings: Settings,
    files: ImageFiles,
    executor: Executor,
    progress: StageProgress,
    *,
    model: str | None = None,
    name: Callable[[str], str] = str,
) -> ImageRun:
    """Do what the settings say with each file, but for what is finished, and write table, page and contact sheet into `settings.out`.

    A file is known by its content, so that it may be renamed; what failed is tried again. `name` writes the parameters in reasons and
    faults.

    Raises:
        BadInputError: if no file can be used, the folder cannot be written, or another run writes it.
    """
    out = settings.out
    try:
        with locked(out / ".lock", wait=False):
            return _run(settings, files, executor, progress, model, name)
    except BlockingIOError:
        what, remedy = "another run writes its results here", f"wait for it, or choose another {parameter('folder')}"
        raise BadInputError(what, remedy=remedy, place=out) from None


def _run(
    settings: Settings,
    files: ImageFiles,
    executor: Executor,
    progress: StageProgress,
    model: str | None,
    name: Callable[[str], str],
) -> ImageRun:
    jobs: dict[Path, ImageJob] = {}
    faults: dict[Path, str] = {}
    large = sum(max(state_of(path)[0], 0) for path in files.paths) > _SHOWN_BYTES
    compared = progress.stage("comparing", len(files.paths), 0) if large else None
    for path, place in zip(files.paths, places(files.paths), strict=True):
        if compared is not None:
            compared(1.0)
        try:
            digest, state = digest_of(path)
        except BadInputError as error:
            faults[path] = error.text(parameter)
        else:
            jobs[path] = ImageJob(settings, path, place, digest, state)
    # Copies of a file are one job.
    unique: dict[Path, ImageJob] = {}
    for job in jobs.values():
        unique.setdefault(job.folder, job)
    remove_leftovers(settings.out / "finished")
    places_of_results = {settings.out, *((settings.out / job.place).parent for job in unique.values())}
    remove_leftovers(*places_of_results, shared=True)
    todo = [job for job in unique.values() if not job.is_finished()]
    # A file was renamed, and another has its former name, whose results now go there.
    wanted, missing = {str(job.place) for job in todo}, {job.folder for job in todo}
    for job in [job for job in unique.values() if job.folder not in missing and job.taken & wanted]:
        shutil.rmtree(job.folder)
        todo.append(job)
    before = len(unique) - len(todo)
    if unique:
        done, bar = 0.0, progress.stage("images", len(unique), before)

        def advance(share: float) -> None:
            nonlocal done
            # A second try counts no share twice, and the last file to end completes the bar.
            share = min(share, len(todo) - done)
            done += share
            bar(share)

        failed = {f.task.folder: f.reason for f in executor.map(run_job, todo, advance)}
        if done < len(todo):
            advance(len(todo) - done)
        faults |= {path: failed[job.folder] for path, job in jobs.items() if job.folder in failed}
    run = result_of(settings, files, jobs, faults, before, model, name)
    write_run(run)
    return run


def result_of(
    settings: Settings,
    files: ImageFiles,
    jobs: Mapping[Path, ImageJob],
    faults: Mapping[Path, str],
    before: int,
    model: str | None,
    name: Callable[[str], str],
) -> ImageRun:
    """Return what is known of files, each of which has a finished job or a fault; BadInputError if none can be used."""
    shots: list[Shot] = []
    for path in files.paths:
        shots += [fault_of(path, faults[path], name)] if path in faults else shots_of(settings, path, jobs[path], name)
    run = gathered(settings, files.notes, shots, before, model)
    if not shots or run.failed == len(shots):
        more = f" (and {len(shots) - 1} more)" if len(shots) > 1 else ""
        raise BadInputError(f"{shots[0].row['fault']}{more}", place=None if more == "" else "no image can be used")
    return run


def gathered(
    settings: Settings, notes: Sequence[str], shots: Sequence["Shot"], before: int, model: str | None
) -> ImageRun:
    """Return the run over some images."""
    table = pl.DataFrame([shot.row for shot in shots], schema=COLUMNS)
    images, thumbnails = tuple(shot.image for shot in shots), tuple(shot.thumbnail for shot in shots)
    return ImageRun(
        settings.verb,
        model,
        settings.out,
        table,
        images,
        (*notes, *_mixed(table), *_movies(images)),
        before,
        thumbnails,
    )


@dataclass(frozen=True, eq=False)
class Shot:
    """One image of a run: its row of the table, the same in full as plain data, and the file of its small picture."""

    row: dict[str, Any]
    image: dict[str, Any]
    thumbnail: Path | None = None


def fault_of(path: Path, fault: str, name: Callable[[str], str]) -> Shot:
    """Return the row of a file that cannot be used."""
    reason = plain(named(fault, name))
    where = {"file": plain(path)}
    return Shot(where | {"fault": reason}, {"image": plain(path.name)} | where | {"error": reason})


def shots_of(settings: Settings, path: Path, job: ImageJob, name: Callable[[str], str]) -> list[Shot]:
    """Return the images of a file whose job is finished."""
    shots = []
    for found in job.images():
        row, image = _described(settings, path, _named(found, name))
        shots.append(Shot(row, image, found["thumbnail"] and job.folder / found["thumbnail"]))
    return shots


def _described(settings: Settings, path: Path, found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the row and the plain data of an image; a finished file may have been renamed since."""
    frame, files = found["frame"], found["files"]
    shot = plain(f"{path.name}#{int(frame)}" if frame else path.name)
    number = int(frame) if frame else settings.frames if isinstance(settings.frames, int) else None
    where = {"image": shot, "file": plain(path), "frame": number}
    record = files.get("record", [None])[0]
    row = {"file": plain(path), "frame": number, **found["row"]}
    if "error" in found:
        return row | {"fault": found["error"]}, where | {"error": found["error"]}
    paths = {what: str(settings.out / file) for what, (file, _) in files.items()}
    answer = found["answer"] | where
    if "subject" in answer:
        answer["subject"] = shot
    row["results"] = record and start(record)
    return row, answer | ({"files": paths} if paths else {})


def _named(content: Any, name: Callable[[str], str]) -> Any:
    """Return plain data with the marked parameters in its texts written as `name` writes them."""
    return json.loads(named(json.dumps(content, ensure_ascii=False), name))


def _mixed(table: pl.DataFrame) -> list[str]:
    """Return a note for each quantity that differs between the images."""
    notes = []
    for column, noun, factor, unit in (
        ("pixel_size_angstrom", "pixel sizes", 1.0, "Å"),
        ("energy_ev", "energies", 1e-3, "kV"),
    ):
        values = table[column].drop_nulls()
        if len(values) and values.max() > 1.001 * values.min():
            counts = values.round_sig_figs(4).value_counts(sort=True)
            several = ", ".join(f"{v * factor:g} {unit} ({n})" for v, n in counts.rows()[:4])
            notes.append(f"different {noun}: {several}{', …' if len(counts) > 4 else ''}")
    return notes


def _movies(images: Sequence[dict[str, Any]]) -> list[str]:
    """Return a note if some images are sums of frames that were not aligned."""
    count = sum(any(UNALIGNED in note for note in image.get("found", ())) for image in images)
    return [f"{count} of {len(images)} are movies, {UNALIGNED}; passband movie aligns one"] if count else []


def write_run(run: ImageRun) -> None:
    """Write table, page and contact sheet."""
    picture = BytesIO()
    contact_sheet.picture(run.table, run.thumbnails, run.headline).save(picture, format="PNG", optimize=False)
    title = f"{run.model or 'optics'}: {len(run)} image{'s' * (len(run) != 1)}"
    page = contact_sheet.page(
        title, (run.headline.partition(": ")[2], *run.notes), run.table, run.thumbnails, run.folder
    )
    write_files(
        {
            **tables(run),
            run.folder / CONTACT_SHEET: lambda file: file.write_bytes(picture.getvalue()),
            run.folder / _PAGE: lambda file: file.write_text(page, encoding="utf-8"),
        }
    )


def tables(run: ImageRun) -> dict[Path, Callable[[Path], object]]:
    """Return what writes the tables, by file."""
    rounded = run.table.with_columns(pl.selectors.float().round(_DIGITS))
    return {
        run.folder / _SUMMARY: lambda file: file.write_bytes(parquet(run.table)),
        run.folder / _SUMMARY_CSV: lambda file: rounded.write_csv(file),
    }
