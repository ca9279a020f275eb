"""Work on uploaded images and masks in a process of its own: reading them, and tuning a model on them."""

import json
import os
import re
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from passband.app.uploads import Upload
from passband.base.errors import BadInputError
from passband.execution.base import Executor, Progress
from passband.execution.processes import Processes
from passband.micrographs.labels import LabelledSet, read_labelled
from passband.models.store import read_model
from passband.models.tuning_jobs import load_labelled, write_labelled
from passband.verdicts.tuned_model import tune_and_write

FOLDS = 4
# Limits on reading all files: processor time [s], and memory [bytes].
_SECONDS, _MEMORY = 600, 8 * 1024**3
# A simulated scene takes as long as so many steps.
_SCENE_STEPS = 10.0
_LONGEST_STEM = 100


@dataclass(frozen=True)
class ReadTask:
    """Pairs of images and masks in two folders, and the file for their arrays."""

    images: Path
    masks: Path
    pixel_size_angstrom: float | None
    out: Path


@dataclass(frozen=True)
class TuneTask:
    """A model, the file of labelled images, the tuned model's folder and name, and the file of the result."""

    model: Path
    labels: Path
    folder: Path
    name: str
    anyway: bool
    out: Path
    steps: int
    scenes: tuple[int, int]


class _Shares:
    """Passes the progress of all stages on, in steps."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def note(self, text: str) -> None:
        pass

    def stage(self, name: str, total: int, done: int) -> Progress:
        weight = _SCENE_STEPS if "scenes" in name else 1.0
        return lambda units: self._progress(weight * units)


def placed(uploads: Sequence[Upload], folder: Path) -> Path:
    """Link uploaded files into a folder under their own names; a file that is sent again takes the place of the former."""
    for upload in uploads:
        link(upload, folder)
    return folder


def link(upload: Upload, folder: Path) -> Path:
    """Link an uploaded file into a folder under its own name, of which only letters, digits and a few signs are kept; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    name = PurePosixPath(upload.name.replace("\\", "/")).name
    stem, suffix = (re.sub(r"[^\w.() -]", "_", part) for part in (Path(name).stem, Path(name).suffix))
    place = folder / f"{stem.lstrip('.')[:_LONGEST_STEM] or 'file'}{suffix}"
    place.unlink(missing_ok=True)
    os.link(upload.path, place)
    return place


def read(task: ReadTask, progress: Progress) -> None:
    """Read the pairs, with limited memory and time, and write their arrays."""
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    labelled = read_labelled(task.images, task.masks, pixel_size_angstrom=task.pixel_size_angstrom)
    write_labelled(task.out, labelled)


def tune(task: TuneTask, progress: Progress) -> None:
    """Tune, write the model unless it is worse, and write what to show."""
    labelled = load_labelled(task.labels)
    result = tune_and_write(
        read_model(task.model),
        labelled,
        task.folder,
        task.name,
        _Shares(progress),
        anyway=task.anyway,
        steps=task.steps,
        folds=FOLDS,
        scenes=task.scenes,
    )
    content: dict[str, Any] = {"html": result._repr_html_(), "written": result.tuned is not None}
    task.out.write_text(json.dumps(content), encoding="utf-8")


def read_apart(task: ReadTask) -> LabelledSet:
    """Return the labelled images of two folders, read in a process of its own; BadInputError that names files, not folders."""
    with Processes(1) as executor:
        try:
            failures = executor.map(read, [task], lambda units: None)
        except BadInputError as error:
            # The user knows the files by their names, not by their places among the uploads.
            for folder, name in ((task.images, "your images"), (task.masks, "your masks")):
                error.what = error.what.replace(f"{folder}/", "")
                error.place = name if error.place == str(folder) else error.place
            raise
    if failures:
        raise BadInputError(f"these files cannot be read: {failures[0].reason}")
    return load_labelled(task.out)


def tune_apart(task: TuneTask, executor: Executor, progress: Progress) -> dict[str, Any]:
    """Return what tuning in a process of its own gives to show; BadInputError if it fails."""
    for failure in executor.map(tune, [task], progress):
        raise BadInputError(f"the model could not be tuned: {failure.reason}")
    return dict(json.loads(task.out.read_text(encoding="utf-8")))


def units(count: int, steps: int, scenes: tuple[int, int]) -> float:
    """Return the steps of tuning on so many images, with simulating."""
    return _SCENE_STEPS * sum(scenes) + (min(FOLDS, count) + 1) * steps
