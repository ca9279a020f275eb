"""The networks of a learning curve as jobs: a stopped run continues, and several processes share the work."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.execution.base import Executor, Progress, StageProgress
from passband.files.jobs import REVISIONS, FolderJob, run_job
from passband.files.tables import parquet
from passband.micrographs.labels import LabelledMicrograph, LabelledSet
from passband.micrographs.micrograph import Micrograph
from passband.models import tuning
from passband.models.learning_curve import LearningCurve
from passband.models.store import Model, read_model
from passband.models.tuning import Edge, Example, Split, Tuner, check, simulated, splits
from passband.specimens import SpecimenRecipe

#: Fewest labelled images for a curve: with four folds, networks are tuned on 1, 2 and 3.
FEWEST = 4
_ARRAYS, _MASKS, _TABLE = "arrays.npz", "masks.npz", "table.parquet"


@dataclass(frozen=True, eq=False)
class LabelsJob(FolderJob):
    """Keep labelled images and the untuned model's masks of them where worker processes read them."""

    kind = "labels"
    home_folder: Path
    weights: str
    labelled: LabelledSet
    masks: tuple[NDArray[np.bool_], ...]

    @property
    def home(self) -> Path:
        """The folder of finished jobs."""
        return self.home_folder

    @property
    def label(self) -> str:
        """A short description."""
        return f"{len(self.labelled)} labelled images"

    @cached_property
    def content(self) -> dict[str, Any]:
        """What decides the arrays."""
        digest = hashlib.blake2b(digest_size=16)
        for item, mask in zip(self.labelled, self.masks, strict=True):
            facts = [item.name, item.micrograph.pixel_size_angstrom, *item.truth.shape]
            for part in (json.dumps(facts).encode(), item.micrograph.intensity, item.truth, np.packbits(mask)):
                digest.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
        return {"revision": REVISIONS[self.kind], "weights": self.weights, "digest": digest.hexdigest()}

    def make(self, folder: Path, progress: Progress) -> None:
        """Write the arrays."""
        write_labelled(folder / _ARRAYS, self.labelled)
        np.savez(folder / _MASKS, *self.masks)
        progress(self.units)


@dataclass(frozen=True, eq=False)
class MixedJob(FolderJob):
    """Simulate images to mix in."""

    kind = "mixed"
    home_folder: Path
    model: Model
    recipe: SpecimenRecipe
    scenes: int

    @property
    def home(self) -> Path:
        """The folder of finished jobs."""
        return self.home_folder

    @property
    def label(self) -> str:
        """A short description."""
        return f"{self.scenes} simulated scenes"

    @property
    def units(self) -> float:
        """Units of progress: scenes."""
        return float(self.scenes)

    @property
    def content(self) -> dict[str, Any]:
        """What decides the images."""
        conditions = [c.to_dict() for c in self.model.card.conditions]
        recipe = self.recipe.model_dump(mode="json")
        return {
            "revision": REVISIONS[self.kind],
            "recipe": recipe,
            "conditions": conditions,
            "scenes": self.scenes,
        }

    def make(self, folder: Path, progress: Progress) -> None:
        """Simulate, and write images and masks."""
        examples, _ = simulated(self.recipe, self.model.card, (self.scenes, 0), progress)
        images, masks = (np.stack(arrays) for arrays in zip(*examples, strict=True))
        np.savez(folder / _ARRAYS, images=images, masks=masks)


@dataclass(frozen=True)
class TuneJob(FolderJob):
    """Tune a model on the chosen images of a split, and score it on those held out."""

    kind = "tune"
    model: Path
    weights: str
    labels: Path
    mixed: Path
    split: Split
    edge: Edge
    steps: int

    @property
    def home(self) -> Path:
        """The folder of finished jobs."""
        return self.labels.parent

    @property
    def label(self) -> str:
        """A short description."""
        return f"a network tuned on {len(self.split.chosen)} images"

    @property
    def units(self) -> float:
        """Units of progress: steps."""
        return float(self.steps)

    @property
    def content(self) -> dict[str, Any]:
        """What decides the scores."""
        return {
            "revision": REVISIONS[self.kind],
            "weights": self.weights,
            "labels": self.labels.name,
            "mixed": self.mixed.name,
            "split": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(self.split).items()},
            "edge": self.edge,
            "steps": self.steps,
        }

    def make(self, folder: Path, progress: Progress) -> None:
        """Tune, and write a row for each image held out."""
        labelled, masks = _read_labels(self.labels)
        tuner = Tuner(read_model(self.model), labelled, masks, self.edge, self.steps)
        rows = tuner.rows(self.split, tuner.held_out(self.split, _read_mixed(self.mixed), progress))
        (folder / _TABLE).write_bytes(parquet(pl.DataFrame(rows)))

    def table(self) -> pl.DataFrame:
        """Return the finished job's rows."""
        return pl.read_parquet(self.folder / _TABLE)


def measure_curve(
    model: Model,
    labelled: LabelledSet,
    folder: Path,
    executor: Executor,
    progress: StageProgress,
    *,
    edge: Edge = "labels",
    folds: int = 4,
    steps: int = 300,
) -> LearningCurve:
    """Tune a model on 1, 2, 4, … of the labelled images and on all but a fold, and score each network on the images of the fold.

    Each fold has a network for each number of images, so that each image is held out from one; `tune` has the same networks for the last.
    The next run continues work that is in the folder.

    Raises:
        BadInputError: as `tune`; if there are fewer than four images; if the work fails.
    """
    count = len(labelled)
    if count < FEWEST:
        what = f"{count} labelled image{'s' * (count > 1)}: a learning curve takes at least {FEWEST}"
        raise BadInputError(what, value=count, limit=FEWEST, remedy="label more, or tune without a curve")
    recipe, masks = check(model, labelled, edge=edge, folds=folds, steps=steps)
    parts = splits(count, min(folds, count), curve=True)
    if len({split.size for split in parts}) < 3:
        what = f"{parameter('folds')} {folds}: leaves too few of {count} images for a learning curve"
        raise BadInputError(what, value=folds, remedy="give more folds")
    home, weights = folder.absolute(), model.card.files[model.weights.name]
    home.mkdir(parents=True, exist_ok=True)
    labels = LabelsJob(home, weights, labelled, tuple(masks))
    mixed = MixedJob(home, model, recipe, tuning.SCENES[0])
    run_job(labels, lambda units: None)
    _run([mixed], "simulated scenes", executor, progress)
    jobs = [
        TuneJob(model.folder.absolute(), weights, labels.folder, mixed.folder, split, edge, steps) for split in parts
    ]
    _run(jobs, "steps", executor, progress)
    tuner = Tuner(model, labelled, masks, edge, steps)
    table = pl.concat([pl.DataFrame(tuner.untuned_rows(parts)), *(job.table() for job in jobs)])
    return LearningCurve(model.card.name, tuple(item.name for item in labelled), table)


def _run(jobs: list[Any], stage: str, executor: Executor, progress: StageProgress) -> None:
    left = [job for job in jobs if not job.is_finished()]
    total, units = (round(sum(job.units for job in some)) for some in (jobs, left))
    for failure in executor.map(run_job, left, progress.stage(stage, total, total - units)):
        raise BadInputError(f"{failure.task.label}: could not be made: {failure.reason}")


def write_labelled(path: Path, labelled: LabelledSet) -> None:
    """Write labelled images as NumPy's `npz`, for another process."""
    arrays: dict[str, Any] = {}
    for i, item in enumerate(labelled):
        arrays |= {f"image_{i}": item.micrograph.intensity, f"truth_{i}": item.truth}
    pixels = [item.micrograph.pixel_size_angstrom for item in labelled]
    arrays |= {"names": [item.name for item in labelled], "notes": np.array(labelled.notes, dtype=str)}
    np.savez(path, pixels=pixels, **arrays)


def load_labelled(path: Path) -> LabelledSet:
    """Return the labelled images that `write_labelled` wrote; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as arrays:
        items = []
        for i, (name, pixel) in enumerate(zip(arrays["names"].tolist(), arrays["pixels"].tolist(), strict=True)):
            items.append(LabelledMicrograph(Micrograph(arrays[f"image_{i}"], pixel, name=name), arrays[f"truth_{i}"]))
        return LabelledSet(tuple(items), tuple(arrays["notes"].tolist()))


def _read_labels(folder: Path) -> tuple[LabelledSet, list[NDArray[np.bool_]]]:
    labelled = load_labelled(folder / _ARRAYS)
    with np.load(folder / _MASKS) as arrays:
        return labelled, [arrays[f"arr_{i}"] for i in range(len(labelled))]


def _read_mixed(folder: Path) -> list[Example]:
    with np.load(folder / _ARRAYS) as arrays:
        return list(zip(arrays["images"], arrays["masks"], strict=True))
