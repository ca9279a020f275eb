"""Analyse a movie: align its frames, segment and judge them in groups, choose those to use, and follow the particles."""

import html
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import tifffile

from passband.base.errors import BadInputError, named, parameter, plain
from passband.execution.base import Executor, StageProgress
from passband.figures import movie as figures
from passband.figures import style
from passband.files.atomic import (
    disk_errors,
    locked,
    read_json,
    remove_leftovers,
    temporary_beside,
    write_files,
    write_json,
)
from passband.files.jobs import run_job
from passband.files.tables import parquet
from passband.micrographs.micrograph import Micrograph
from passband.micrographs.movie import Range, read_movie
from passband.micrographs.tracks import follow
from passband.models import outputs
from passband.models.store import Model
from passband.report import pages
from passband.sessions import contact_sheet
from passband.sessions.image_job import Settings, digest_of
from passband.sessions.image_run import COLUMNS
from passband.sessions.movie_job import SUM, Drift, DriftJob, GroupJob, least_dose, reasons_against
from passband.verdicts.verdict_model import VerdictModel

#: Motion within a frame that blurs the lattice [Å]: fringes of 2 Å lose a third of their contrast.
MOST_BLUR_ANGSTROM = 1.0
_PAGE, _RECORD = "movie.html", "movie.json"
_DIGITS = 4
# What a page says of each figure, and the head of its table of particles.
_FIGURES = {
    "drift": ("Drift", "Place of the specimen in each frame, and how far it moves within one."),
    "growth": ("Growth", "Diameter of each particle that the edge never cuts, and their median."),
    "motion": ("Motion", "Paths of the particles over the aligned sum; dot and number of the track where each ends."),
}
_HEAD = (
    "track",
    "first frame",
    "last frame",
    "groups",
    "diameter [Å]",
    "growth [Å per frame]",
    "standard error",
    "moved [Å]",
    "touches the edge",
)


@dataclass(frozen=True, eq=False, repr=False)
class MovieRun:
    """What a movie shows. `print` gives the verdict, the drift and the particles, a notebook the page.

    Attributes:
        model: name of the model.
        folder: of the results.
        movie: what is known of the movie: file, frames, doses, times.
        answer: verdict on the aligned sum, and its particles, as `segment` prints them.
        frames: one row a frame: `frame`, `time_s`, place of the specimen (`x_angstrom`, `y_angstrom`) with its standard deviation
            (`deviation_angstrom`), `moved_angstrom` within the frame, `used`, and the `reason` if not.
        groups: one row a group of frames that was segmented: `frame` (the first), `last_frame`, `dose_per_angstrom2`, `verdict`, `zone`,
            `dice` with its 90 % interval, `particles`, diameters and optics as in the table of a folder, `fault`.
        tracks: one row a particle and group: `frame`, `time_s`, `track`, `x_angstrom` and `y_angstrom` in the aligned sum, and all else
            that `segment` measures.
        notes: in sentences.
    """

    model: str
    folder: Path
    movie: dict[str, Any]
    answer: dict[str, Any]
    frames: pl.DataFrame
    groups: pl.DataFrame
    tracks: pl.DataFrame
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str | None:
        """yes, no or cannot say of the aligned sum; None if the model gives none."""
        return (self.answer["verdict"] or {}).get("answer")

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the verdicts, the drift, the frames to use, the tracks in short, and where the files are."""
        return {
            "model": self.model,
            **self.movie,
            "drift": self.drift,
            "answer": self.verdict,
            "sum": self.answer,
            "frames": self.frames.to_dicts(),
            "groups": self.groups.drop_nulls("frame").to_dicts(),
            "particles": self.particles.to_dicts(),
            "notes": list(self.notes),
            "files": {name: str(self.folder / file) for name, file in FILES.items()},
        }

    @cached_property
    def drift(self) -> dict[str, Any]:
        """Length of the path and greatest distance [Å], and the mean speed [Å/s] if the times are known."""
        places = self.frames.select("x_angstrom", "y_angstrom").to_numpy()
        path = float(np.hypot(*np.diff(places, axis=0).T).sum())
        seconds = self.movie["frame_seconds"]
        return {
            "path_angstrom": path,
            "farthest_angstrom": float(np.hypot(*(places - places[0]).T).max()),
            "angstrom_per_s": path / (seconds * (len(places) - 1)) if seconds else None,
        }

    @cached_property
    def particles(self) -> pl.DataFrame:
        """One row a track of at least three sightings: first and last frame, sightings, first and last diameter, growth per frame with its standard error, and path [Å]."""
        rows = []
        for (number,), one in self.tracks.group_by("track", maintain_order=True):
            if len(one) < 3:
                continue
            frame, size = one["frame"].to_numpy().astype(float), one["equivalent_diameter_angstrom"].to_numpy()
            (slope, _), residual, *_ = np.polyfit(frame, size, 1, full=True)
            error = (
                np.sqrt(residual[0] / (len(one) - 2) / ((frame - frame.mean()) ** 2).sum()) if len(residual) else 0.0
            )
            places = one.select("x_angstrom", "y_angstrom").to_numpy()
            rows.append(
                {
                    "track": number,
                    "first_frame": one["frame"][0],
                    "last_frame": one["frame"][-1],
                    "sightings": len(one),
                    "diameter_angstrom": float(size.mean()),
                    "growth_angstrom_per_frame": float(slope),
                    "growth_error_angstrom_per_frame": float(error),
                    "moved_angstrom": float(np.hypot(*(places[-1] - places[0]))),
                    "touches_edge": bool(one["touches_edge"].any()),
                }
            )
        return pl.DataFrame(rows)

    def __str__(self) -> str:
        count, used = len(self.frames), int(self.frames["used"].sum())
        drift = self.drift
        speed = drift["angstrom_per_s"]
        lines = [
            f"{self.movie['file']}: {count} frames, {self.movie['frames_of_a_group']} together",
            f"  aligned sum of {used} of {count} frames: {contact_sheet.caption(self._row)}",
            *(f"  {line}" for line in self.recommendation),
            f"  drift: {drift['path_angstrom']:.1f} Å along the path, {drift['farthest_angstrom']:.1f} Å at most"
            + ("" if speed is None else f", {speed:.2f} Å/s on average"),
        ]
        tracks = self.particles
        if len(tracks):
            growth = tracks["growth_angstrom_per_frame"].median()
            lines.append(
                f"  {len(tracks)} particles followed over at least three groups, median growth {growth:+.2g} Å per frame"
            )
        lines += [f"  {plain(note)}" for note in self.notes]
        return "\n".join([*lines, f"page: {self.folder / _PAGE}, tracks: {self.folder / FILES['tracks']}"])

    __repr__ = __str__

    @property
    def recommendation(self) -> list[str]:
        """Which frames to use, and why not the others, in lines."""
        left = self.frames.filter(~pl.col("used"))
        if left.is_empty():
            return ["use all frames"]
        reasons: dict[str, list[int]] = {}
        for frame, reason in left.select("frame", "reason").rows():
            reasons.setdefault(str(reason).partition(" by ")[0], []).append(frame)
        used = self.frames.filter(pl.col("used"))["frame"].to_list()
        return [f"use frames {ranges(used)}", *(f"leave out {ranges(f)}: {reason}" for reason, f in reasons.items())]

    @property
    def _row(self) -> dict[str, Any]:
        return dict.fromkeys(COLUMNS) | self.answer["row"] | {"file": f"{SUM}.tif"}

    def _repr_html_(self) -> str:
        overlay = pages.picture(
            (self.folder / outputs.names(SUM)["overlay"]).read_bytes(), "the aligned sum with outlines of its particles"
        )
        text = "".join(f"<p>{html.escape(line)}</p>" for line in str(self).splitlines())
        return f'{text}<div style="max-width:640px">{overlay}</div>'


#: Files of a result by what they hold.
FILES = {
    "aligned_sum": f"{SUM}.tif",
    "overlay": outputs.names(SUM)["overlay"],
    "frames": "frames.parquet",
    "frames_csv": "frames.csv",
    "groups": "groups.parquet",
    "tracks": "tracks.parquet",
    "tracks_csv": "tracks.csv",
    "drift": "drift.png",
    "growth": "growth.png",
    "motion": "motion.png",
    "page": _PAGE,
    "record": _RECORD,
}


def ranges(numbers: list[int]) -> str:
    """Return whole numbers in order as a text: 0–3, 7."""
    parts = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts if len(p))


def run_movie(
    settings: Settings,
    path: Path,
    model: Model,
    executor: Executor,
    progress: StageProgress,
    *,
    frames: Range | None = None,
    frame_seconds: float | None = None,
    name: Callable[[str], str] = str,
) -> MovieRun:
    """Analyse a movie and write tables, figures and page into `settings.out`; what is finished, by the content of the file, is kept.

    The dose that `settings` give is that of a frame; `frames` are the first and the last one. `name` writes the parameters in reasons.

    Raises:
        BadInputError: if the file is no movie or cannot be aligned, or the folder cannot be written or has results of another movie.
    """
    out = settings.out
    try:
        with locked(out / ".lock", wait=False):
            return _Work(settings, path, model, executor, progress, frames, frame_seconds, name).run()
    except BlockingIOError:
        what, remedy = "another run writes its results here", f"wait for it, or choose another {parameter('folder')}"
        raise BadInputError(what, remedy=remedy, place=out) from None


@dataclass(frozen=True, eq=False)
class _Work:
    settings: Settings
    path: Path
    model: Model
    executor: Executor
    progress: StageProgress
    frames: Range | None
    frame_seconds: float | None
    name: Callable[[str], str]

    def run(self) -> MovieRun:
        out = self.settings.out
        digest, _ = digest_of(self.path)
        self._refuse_others(digest)
        source = {
            "file": digest,
            "ending": self.path.suffix.lower(),
            "part": self.frames,
            "frame_seconds": self.frame_seconds,
            "given": asdict(self.settings.given),
        }
        source = json.loads(json.dumps(source))
        remove_leftovers(out / "finished", out)
        unpacked = temporary_beside(out / "frames")
        try:
            drift = self._drift(source, unpacked)
            judge = None if self.model.scores is None else VerdictModel(self.model)
            together = drift.groups(judge)
            groups = [GroupJob(self.settings, source, drift, tuple(part), unpacked) for part in together]
            faults = self._done("groups of frames", groups, unpacked)
            rows = [{"fault": faults[g.folder]} if g.folder in faults else g.found()["row"] for g in groups]
            reasons = reasons_against(drift, groups, rows, MOST_BLUR_ANGSTROM)
            notes = self._notes(drift, together, judge)
            used = tuple(i for i in drift.movie.exposed if not reasons[i])
            if len(used) < 2:
                notes.append("no frames can be recommended; the sum is that of all that are not blank")
                used = tuple(drift.movie.exposed)
            made_by = outputs.origin(self.model.card, self.path, "sum")
            whole = GroupJob(self.settings, source, drift, used, unpacked, made_by)
            faults_of_sum = self._done("aligned sum", [whole], unpacked)
            if faults_of_sum:
                raise BadInputError(named(next(iter(faults_of_sum.values())), self.name))
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
        return self._written(digest, drift, groups, rows, faults, reasons, whole, notes)

    def _refuse_others(self, digest: str) -> None:
        known = read_json(self.settings.out / _RECORD)
        if isinstance(known, dict) and known.get("digest") not in (None, digest):
            remedy = f"choose another {parameter('folder')}"
            raise BadInputError(
                f"has results of another movie, {plain(known.get('file'))}", remedy=remedy, place=self.settings.out
            )

    def _unpack(self, unpacked: Path) -> Any:
        with disk_errors(unpacked):
            unpacked.mkdir(parents=True)
        return read_movie(self.path, unpacked, self.frames, self.settings.given, self.frame_seconds)

    def _drift(self, source: dict[str, Any], unpacked: Path) -> Drift:
        job = DriftJob(self.settings.out, source)
        if not job.is_finished():
            self.progress.note(f"reading {plain(self.path.name)}")
            movie = self._unpack(unpacked)
            bar = self.progress.stage("aligning", 1, 0)
            DriftJob(self.settings.out, source, movie, unpacked).run(bar)
        return job.drift(self.path.name)

    def _done(self, what: str, jobs: list[GroupJob], unpacked: Path) -> dict[Path, str]:
        """Do what is not finished, and return the faults by folder."""
        todo = [job for job in jobs if not job.is_finished()]
        if todo and not unpacked.exists():
            self._unpack(unpacked)
        bar = self.progress.stage(what, len(jobs), len(jobs) - len(todo))
        return {failure.task.folder: failure.reason for failure in self.executor.map(run_job, todo, bar)}

    def _notes(self, drift: Drift, together: list[list[int]], judge: VerdictModel | None) -> list[str]:
        movie, found = drift.movie, drift.alignment
        notes = list(movie.notes)
        dose = drift.dose_per_angstrom2
        if movie.dose_per_angstrom2 is None:
            notes.append(f"the noise is that of {dose:.3g} e/Å² a frame; the groups are chosen by it")
        most = max(map(len, together))
        if most > 1:
            why = f"{least_dose(judge):.0f} e/Å², the lower quartile of the doses that {self.model.card.name} was calibrated under"
            notes.append(f"{most} frames are segmented together, to reach {why}")
        if found.frames_together > 1:
            notes.append(f"{found.frames_together} frames were aligned together, because single ones are too noisy")
        if found.pattern:
            notes.append(f"a fixed pattern of {found.pattern:.1%} of the mean was told from the specimen")
        if movie.frame_seconds:
            notes.append(f"{movie.frame_seconds:g} s from frame to frame")
        return notes

    def _written(
        self,
        digest: str,
        drift: Drift,
        groups: list[GroupJob],
        rows: list[dict[str, Any]],
        faults: dict[Path, str],
        reasons: list[str],
        whole: GroupJob,
        notes: list[str],
    ) -> MovieRun:
        out, movie = self.settings.out, drift.movie
        seconds, first, pixel = movie.frame_seconds, movie.first, movie.pixel_size_angstrom
        count = len(movie.means)
        numbers = np.arange(first, first + count)
        shifts = drift.alignment.shifts * pixel
        frames = pl.DataFrame(
            {
                "frame": numbers,
                "time_s": pl.Series([i * seconds if seconds else None for i in range(count)], dtype=pl.Float64),
                "x_angstrom": shifts[:, 1],
                "y_angstrom": shifts[:, 0],
                "deviation_angstrom": drift.alignment.deviations.max(1) * pixel,
                "moved_angstrom": drift.within_frame(),
                "used": [i in set(whole.frames) for i in range(count)],
                "reason": [named(reason, self.name) or None for reason in reasons],
            }
        )
        described = []
        for group, row in zip(groups, rows, strict=True):
            described.append(row | {"file": movie.name, "frame": group.numbers[0]})
            described[-1]["fault"] = row.get("fault") and named(row["fault"], self.name)
        table = pl.DataFrame(
            [json.loads(named(json.dumps(r, ensure_ascii=False), self.name)) for r in described], schema=COLUMNS
        )
        ends = pl.Series("last_frame", [group.numbers[1] for group in groups])
        table = table.insert_column(2, ends).drop("file", "results")
        tracks = _tracks([g for g in groups if g.folder not in faults], frames)
        found = json.loads(named(json.dumps(whole.found(), ensure_ascii=False), self.name))
        about = {
            "file": plain(self.path.name),
            "digest": digest,
            "frames_of_a_group": max(len(g.frames) for g in groups),
            "frame_seconds": seconds,
            "frame_dose_per_angstrom2": movie.dose_per_angstrom2,
            "pixel_size_angstrom": pixel,
            "fixed_pattern": drift.alignment.pattern,
        }
        result = MovieRun(
            self.model.card.name,
            out,
            about,
            found["answer"] | {"row": found["row"]},
            frames,
            table,
            tracks,
            tuple(notes),
        )
        thumbnails = [None if g.folder in faults else g.thumbnail for g in groups]
        _write(result, thumbnails)
        return result


def _tracks(groups: list[GroupJob], frames: pl.DataFrame) -> pl.DataFrame:
    tables = [group.particles() for group in groups]
    times = frames["time_s"]
    timed = times.null_count() == 0
    parts = []
    for group, table in zip(groups, tables, strict=True):
        middle = float(np.mean([times[i] for i in group.frames])) if timed else None
        parts.append(
            table.with_columns(frame=pl.lit(group.numbers[0], dtype=pl.Int64), time_s=pl.lit(middle, dtype=pl.Float64))
        )
    joined = pl.concat(parts, how="diagonal_relaxed").with_columns(follow(tables))
    leading = ["frame", "time_s", "track", "x_angstrom", "y_angstrom", "equivalent_diameter_angstrom"]
    return joined.select(*leading, pl.exclude(leading))


def _write(run: MovieRun, thumbnails: list[Path | None]) -> None:
    out = run.folder
    pixel = run.movie["pixel_size_angstrom"]
    grey, step = Micrograph(tifffile.imread(out / FILES["aligned_sum"]), pixel).grey()
    pictures = {
        "drift": style.png(8.4, 3.4, lambda made: figures.draw_drift(run.frames, made), 120),
        "growth": style.png(5.2, 3.6, lambda made: figures.draw_growth(run.tracks, made.subplots()), 120),
        "motion": style.png(
            5.6, 5.6, lambda made: figures.draw_motion(run.tracks, grey, pixel * step, made.subplots()), 120
        ),
    }
    rounded = [t.with_columns(pl.selectors.float().round(_DIGITS)) for t in (run.frames, run.tracks)]
    text = _page(run, pictures, thumbnails)
    record = run.to_dict()
    write_files(
        {
            out / FILES["frames"]: lambda file: file.write_bytes(parquet(run.frames)),
            out / FILES["frames_csv"]: lambda file: rounded[0].write_csv(file),
            out / FILES["groups"]: lambda file: file.write_bytes(parquet(run.groups)),
            out / FILES["tracks"]: lambda file: file.write_bytes(parquet(run.tracks)),
            out / FILES["tracks_csv"]: lambda file: rounded[1].write_csv(file),
            **{out / FILES[name]: partial(_save, content) for name, content in pictures.items()},
            out / _PAGE: lambda file: file.write_text(text, encoding="utf-8"),
        }
    )
    write_json(out / _RECORD, record)


def _save(content: bytes, file: Path) -> None:
    file.write_bytes(content)


def _page(run: MovieRun, pictures: dict[str, bytes], thumbnails: list[Path | None]) -> str:
    lines = "".join(f"<p>{html.escape(line.strip())}</p>" for line in str(run).splitlines()[:-1])
    drawn = "".join(
        f"<h2>{title}</h2><figure>{pages.picture(pictures[name], title)}<figcaption>{says}</figcaption></figure>"
        for name, (title, says) in _FIGURES.items()
    )
    overlay = pages.picture(
        (run.folder / FILES["overlay"]).read_bytes(), "the aligned sum with outlines of its particles"
    )
    first, last = pl.col("frame"), pl.col("last_frame")
    name = (
        pl.when(first == last).then(pl.format("frame {}", first)).otherwise(pl.format("frames {} to {}", first, last))
    )
    missing = {"frame": pl.lit(None, dtype=pl.Int64), "results": pl.lit(None, dtype=pl.String)}
    sheet = contact_sheet.cards(run.groups.with_columns(file=name, **missing), thumbnails)
    rows = [
        (*(f"{v:.3g}" if isinstance(v, float) else v for v in row), "yes" if edge else "no")
        for *row, edge in run.particles.rows()
    ]
    particles = pages.table(rows, _HEAD) or "<p>No particle is seen in three groups of frames.</p>"
    body = f"""{lines}<h2>Aligned sum</h2><div style='max-width:760px'>{overlay}</div>{drawn}<h2>Groups of frames</h2>{sheet}
<h2>Particles</h2><figure>{particles}</figure>"""
    return pages.page(f"{run.movie['file']}: a movie", body)
