"""The work on one file of a run: segment, judge, estimate; a finished file is known by its content and the model's."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from passband.base.errors import BadInputError, JobFailedError, parameter
from passband.base.version import __version__
from passband.estimation.estimate import Estimate, estimate
from passband.execution.base import Progress
from passband.files.atomic import read_json, write_json
from passband.files.jobs import REVISIONS, FolderJob
from passband.micrographs import formats
from passband.micrographs.formats.decode import Frames
from passband.micrographs.micrograph import Calibration, Micrograph
from passband.micrographs.reading import read_micrographs
from passband.micrographs.sandbox.parsing import check_file
from passband.models import outputs
from passband.models.segment import Segmentation, segment
from passband.models.store import SEGMENTING, Model, read_model, require_task
from passband.sessions import thumbnail
from passband.verdicts.domain import SpecimenInfo
from passband.verdicts.image_optics import estimate_optics
from passband.verdicts.verdict import Verdict
from passband.verdicts.verdict_model import VerdictModel

Verb = Literal["segment", "check", "estimate"]
#: State of a file that is not there.
GONE = (-1, -1)
_IMAGES = "images.json"
# Key of a record that names the job which wrote it.
_JOB = "job"
# Shares of the time that a file takes, for the progress bar.
_READ, _SEGMENTED = 0.2, 0.5


@dataclass(frozen=True)
class Settings:
    """What is done with every file of a run.

    Attributes:
        verb: segment (with verdict and optics), check (verdict and optics), or estimate (optics).
        out: folder of the results.
        model: folder of the model; None for estimate.
        model_digest: that the model has to have.
        given: calibration that overrides that of the files.
        frames: as `read_micrographs` takes them.
        specimen: what is known of it.
        spherical_angstrom: C30, for estimate [Å].
    """

    verb: Verb
    out: Path
    model: Path | None = None
    model_digest: str | None = None
    given: Calibration = field(default_factory=Calibration)
    frames: Frames = None
    specimen: SpecimenInfo = field(default_factory=SpecimenInfo)
    spherical_angstrom: float = 0.0

    @classmethod
    def of(cls, verb: Verb, out: Path, model: Model | None, **settings: Any) -> "Settings":
        """Return the settings for a loaded model."""
        if model is None:
            return cls(verb, out, **settings)
        require_task(model.card, *(SEGMENTING if verb == "segment" else SEGMENTING[:1]))
        return cls(verb, out, model.folder.resolve(), str(model.card.digest), **settings)

    @property
    def content(self) -> dict[str, Any]:
        """What decides the results, beside the files: not where they lie."""
        values = asdict(self)
        for place in ("out", "model"):
            del values[place]
        return values | {"passband": __version__}


@dataclass(frozen=True)
class ImageJob(FolderJob):
    """One file. Its results for the user lie in `settings.out`; the job's folder has what table, page and a second run need."""

    kind = "session"
    settings: Settings
    path: Path
    #: Where its results go, relative to `settings.out`.
    place: Path
    digest: str
    #: Size and time of the file before it was compared.
    state: tuple[int, int]

    @property
    def home(self) -> Path:
        """The folder of finished files."""
        return self.settings.out / "finished"

    @property
    def label(self) -> str:
        """The name of the file."""
        return self.path.name

    @cached_property
    def content(self) -> dict[str, Any]:
        """What decides the results: the file by its content and the form of its name, and the settings."""
        kind = {"revision": REVISIONS[self.kind], "ending": self.path.suffix.lower(), "file": self.digest}
        return json.loads(json.dumps(kind | self.settings.content))

    def is_finished(self) -> bool:
        """Tell whether all results are there, in their full length, and still of this file."""
        if not super().is_finished():
            return False
        out = self.settings.out
        try:
            for image in self.images():
                if any((out / name).stat().st_size != size for name, size in image["files"].values()):
                    return False
                # Another file that took the name has replaced them.
                if image["files"] and read_json(out / image["files"]["record"][0])[_JOB] != self.folder.name:
                    return False
        except (OSError, KeyError, TypeError):
            return False
        return True

    @property
    def taken(self) -> set[str]:
        """Where the results of a finished file lie, as `place`; it may have been renamed since."""
        starts = [(image["files"], image["frame"]) for image in self.images()]
        return {outputs.start(f["record"][0]).removesuffix(f"_{frame}" if frame else "") for f, frame in starts if f}

    def images(self) -> list[dict[str, Any]]:
        """Return what is known of each image of a finished file; parameters in sentences are marked."""
        return list(read_json(self.folder / _IMAGES))

    def run(self, progress: Progress) -> None:
        """Do the work unless it is done."""
        if self.folder.exists() and not self.is_finished():
            # A result was deleted or damaged.
            shutil.rmtree(self.folder)
        super().run(progress)

    def make(self, folder: Path, progress: Progress) -> None:
        """Read the file and write its results; JobFailedError with the reason if it cannot be used."""
        with _failing():
            micrographs = read_micrographs(self.path, frames=self.settings.frames, **vars(self.settings.given))
            if state_of(self.path) != self.state:
                remedy = "run again when it is complete"
                raise BadInputError("changed while it was read", remedy=remedy, place=self.path.name)
        progress(_READ)
        images, count = [], len(micrographs)
        for i in range(count):
            # Each image is freed when it is done.
            shot, frame = micrographs.pop(0), f"{i:04d}" if count > 1 else ""
            try:
                images.append(self._image(folder, shot, frame, lambda share: progress(share / count)))
            except JobFailedError as error:
                images.append({"frame": frame, "error": str(error), "row": {}, "files": {}, "thumbnail": None})
        if all("error" in image for image in images):
            raise JobFailedError(images[0]["error"])
        write_json(folder / _IMAGES, images)

    def _image(self, folder: Path, micrograph: Micrograph, frame: str, progress: Progress) -> dict[str, Any]:
        """Write the results of one image, and return what a second run needs."""
        place = self.place.with_name(f"{self.place.name}_{frame}") if frame else self.place
        with _failing():
            found = analyse(self.settings, micrograph, progress)
            if found.segmentation is not None and found.model is not None:
                made_by = outputs.origin(found.model.card, self.path, frame)
                path = outputs.free_place(self.settings.out, place, made_by)
        files: dict[str, tuple[str, int]] = {}
        if found.segmentation is not None:
            for what, file in outputs.write_outputs(
                path, found.segmentation, made_by | {_JOB: self.folder.name}
            ).items():
                files[what] = (str(Path(file).relative_to(self.settings.out)), Path(file).stat().st_size)
        name = f"thumbnail{frame}.jpg"
        (folder / name).write_bytes(thumbnail.jpeg(micrograph, found.segmentation))
        progress(1.0 - _READ - _SEGMENTED)
        answer = found.answer(self.settings.verb)
        return {"frame": frame, "answer": answer, "row": found.row(), "files": files, "thumbnail": name}


@contextmanager
def _failing() -> Iterator[None]:
    """Turn bad input into the failure of this file alone; parameters in the reason stay marked."""
    try:
        yield
    except BadInputError as error:
        raise JobFailedError(error.text(parameter)) from None


@dataclass(frozen=True, eq=False)
class Findings:
    """What was found out about one image; what was not asked for is None."""

    micrograph: Micrograph
    model: Model | None = None
    segmentation: Segmentation | None = None
    verdict: Verdict | None = None
    optics: Estimate | None = None
    #: Why there is no verdict although one was asked for.
    no_verdict: str | None = None
    #: Whether the model gives verdicts, but none on this image.
    unknown: bool = False

    def answer(self, verb: Verb) -> dict[str, Any]:
        """Return plain data as the verb prints them for one image."""
        shot, optics = self.micrograph, self.optics and self.optics.to_dict()
        known = {"image": shot.name, "found": list(shot.notes)}
        if verb == "estimate":
            return known | (optics or {})
        verdict = None if self.verdict is None else self.verdict.to_dict(parameter)
        if verb == "check":
            return known | {"subject": shot.name} | (verdict or {}) | {"optics": optics}
        assert self.segmentation is not None
        return self.segmentation.to_dict() | {"verdict": verdict, "no_verdict": self.no_verdict, "optics": optics}

    def row(self) -> dict[str, Any]:
        """Return the columns of the table that this image fills."""
        shot = self.micrograph
        row: dict[str, Any] = {
            "pixel_size_angstrom": shot.pixel_size_angstrom,
            "energy_ev": shot.energy_ev,
            "dose_per_angstrom2": shot.dose_per_angstrom2,
        }
        if (fit := self.optics) is not None:
            low, high = fit.interval_angstrom or (None, None)
            reading = fit.overfocus if fit.sign == "overfocus" else fit.underfocus
            limit = fit.information_limit_per_angstrom
            row |= {
                "defocus_angstrom": fit.defocus_angstrom,
                "defocus_low_angstrom": low,
                "defocus_high_angstrom": high,
                "defocus_sign": fit.sign,
                "astigmatism_angstrom": reading and reading.C12,
                "resolution_angstrom": limit and 1 / limit,
            }
        if (result := self.segmentation) is not None:
            whole = result.particles.filter(~result.particles["touches_edge"])["equivalent_diameter_angstrom"]
            row |= {
                "particles": len(result.particles),
                "mean_diameter_angstrom": whole.mean(),
                "diameter_deviation_angstrom": whole.std(),
                "particle_share": float(result.mask.mean()),
            }
        verdict, reasons = self.verdict, [self.no_verdict] if self.no_verdict else []
        if verdict is not None:
            dice = verdict.dice
            row |= {
                "verdict": verdict.answer,
                "zone": verdict.zone,
                "relative_loss": verdict.relative_loss,
                "advice": verdict.advice_text(parameter),
            }
            if dice is not None:
                row |= {"dice": dice.predicted, "dice_low": dice.low, "dice_high": dice.high}
            reasons += [why.text(parameter) for why in (*verdict.cannot_say, *verdict.reasons)]
        elif self.unknown:
            row["verdict"] = "cannot say"
        elif self.optics is not None and not self.optics.has_rings:
            reasons.append(self.optics.notes[0])
        return row | {"reasons": "; ".join(reasons) or None}


def analyse(settings: Settings, micrograph: Micrograph, progress: Progress) -> Findings:
    """Do with one image what the settings say; BadInputError if that cannot be done."""
    if settings.model is None:
        return Findings(micrograph, optics=estimate(micrograph, C30=settings.spherical_angstrom))
    model, judge = _loaded(settings.model, str(settings.model_digest))
    result = None
    if settings.verb == "segment":
        done = 0.0

        def tiles(finished: int, total: int) -> None:
            nonlocal done
            progress(_SEGMENTED * finished / total - done)
            done = _SEGMENTED * finished / total

        result = segment(model, micrograph, elements=settings.specimen.elements, progress=tiles)
    else:
        progress(_SEGMENTED)
    if judge is None:
        return Findings(micrograph, model, result, no_verdict=f"{model.card.name} has not been scored")
    optics = estimate_optics(judge, micrograph)
    try:
        verdict = judge.check_image(micrograph, settings.specimen, optics)
    except BadInputError as error:
        if result is None:
            raise
        # Its particles are of use without a verdict, as those of a small image.
        return Findings(micrograph, model, result, optics=optics, no_verdict=error.text(parameter), unknown=True)
    return Findings(micrograph, model, result, verdict, optics)


@lru_cache(maxsize=1)
def _loaded(folder: Path, digest: str) -> tuple[Model, VerdictModel | None]:
    """Return a model and its verdicts, loaded once in each process."""
    model = read_model(folder)
    if model.card.digest != digest:
        raise BadInputError("was changed during the run", remedy="run again", place=folder)
    return model, None if model.scores is None else VerdictModel(model)


def state_of(path: Path) -> tuple[int, int]:
    """Return size and time of a file, which a program that writes it changes; (−1, −1) if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return GONE
    return status.st_size, status.st_mtime_ns


def digest_of(path: Path) -> tuple[str, tuple[int, int]]:
    """Return the hash of a file, with the file that describes it, and its state before; BadInputError if it cannot be read."""
    check_file(path)
    state, parts = state_of(path), [path]
    if path.suffix.lower() == ".ser":
        parts.append(formats.description(path))
    digests = []
    for part in parts:
        try:
            with part.open("rb") as file:
                digests.append(hashlib.file_digest(file, "blake2b").hexdigest()[:32])
        except OSError as error:
            if part is path:
                raise BadInputError(f"cannot be read: {error.strerror}", remedy="copy it again", place=path) from None
    return "-".join(digests), state
