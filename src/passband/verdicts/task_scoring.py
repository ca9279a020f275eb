"""Score a model without verdicts, of another task than segmentation or for STEM, on simulated images with known truth, condition by condition."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.conditions import AnyCondition, Condition
from passband.execution.base import Executor, Progress, StageProgress
from passband.files.jobs import REVISIONS, FolderJob, run_job
from passband.files.tables import parquet
from passband.learning import SEGMENTATION, predict
from passband.learning.classes import classes_of
from passband.models.card import ModelCard
from passband.models.network import Network
from passband.models.store import Model, read_model
from passband.models.task_scores import TaskScores
from passband.simulation.imaging import normalize
from passband.simulation.modalities import config_for, modality_name
from passband.simulation.modality import camera_masks
from passband.simulation.wave_store import WaveSet
from passband.specimens import Recipe
from passband.studies.jobs import imager
from passband.studies.paths import StudyPaths
from passband.studies.target_jobs import check_task, make_targets, targets_under
from passband.studies.wave_jobs import make_waves, open_wave_set, read_waves
from passband.verdicts.calibration import Scoring
from passband.verdicts.features import as_seen

_TABLE = "table.parquet"


@dataclass(frozen=True)
class TaskScoreJob(FolderJob):
    """Score the model of a folder under a condition, on the first specimens of a wave set."""

    kind = "task_score"
    model: Path
    weights: str
    waves: WaveSet
    count: int
    condition: AnyCondition
    paths: StudyPaths

    @property
    def home(self) -> Path:
        """The folder of finished jobs."""
        return self.paths.jobs

    @property
    def label(self) -> str:
        """A short description."""
        return "scores under a condition"

    @property
    def content(self) -> dict[str, Any]:
        """Everything that the scores depend on."""
        return {
            "revision": REVISIONS[self.kind],
            "weights": self.weights,
            "waves": self.waves.folder.name,
            "specimens": self.count,
            "condition": self.condition.to_dict(),
        }

    def make(self, folder: Path, progress: Progress) -> None:
        """Predict the images of the specimens and write a row of counts for each."""
        model = read_model(self.model)
        card, waves = model.card, self.waves
        task = card.learnt
        coefficients, masks = read_waves(waves, 0, self.count)
        made_by = imager(waves, self.condition)
        images = made_by.images(coefficients, masks, seed=seed_from("score", self.condition.id)).counts
        targets = camera_masks(targets_under(task.name, waves, 0, self.count, [self.condition]), made_by.pixels)
        truth = task.truth(targets.numpy(), card.pixel_size_angstrom)
        # A network takes pictures, whose x runs along the columns.
        outputs = predict(Network(model), normalize(images).mT[:, None]).mT
        columns = task.score(outputs, targets[:, None].float(), truth)
        table = pl.DataFrame({name: np.asarray(values) for name, values in columns.items()})
        (folder / _TABLE).write_bytes(parquet(table))
        progress(1.0)


@dataclass(frozen=True)
class TaskScoring:
    """A model without verdicts, and what to score it on: so many specimens of a recipe, under named conditions of one energy.

    The folder is for exit waves and work in progress.
    """

    model: Model
    recipe: Recipe
    conditions: Sequence[tuple[str, AnyCondition]]
    count: int
    folder: Path

    @cached_property
    def _scoring(self) -> Scoring:
        """The same for segmentation, which knows field and exit waves."""
        known = [c for _, c in self.conditions if isinstance(c, Condition)]
        return Scoring(self.model, self.recipe, known, self.count, 0.0, self.folder)

    @cached_property
    def waves(self) -> WaveSet:
        """What is stored of the specimens."""
        hrtem = self.model.card.modality == "hrtem"
        config = self._scoring.exit_waves if hrtem else config_for([c for _, c in self.conditions])
        return open_wave_set(self.recipe, config, self.folder.absolute())

    def check(self) -> None:
        """Raise BadInputError before any work, if field, energies, specimens or task do not fit the model."""
        card = self.model.card
        if card.classes and (classes := classes_of([self.recipe])) != card.classes:
            what = f"the recipe's crystals are {', '.join(classes[1:])}, and {card.name} tells {', '.join(card.classes[1:])} apart"
            raise BadInputError(
                what, value=classes[1:], limit=card.classes[1:], remedy="give a recipe of these crystals"
            )
        for label, condition in self.conditions:
            if (given := modality_name(condition)) != card.modality:
                what = f"is of {given.upper()}, and {card.name} is for {card.modality.upper()}"
                raise BadInputError(what, value=given, limit=card.modality, remedy="give others", place=label)
        self._scoring.check_field()
        energies = sorted({c.energy_ev for _, c in self.conditions})
        if len(energies) > 1:
            what = f"the conditions have energies of {', '.join(f'{e:g}' for e in energies)} eV"
            raise BadInputError(what, value=energies, remedy="give those of one energy")
        self._scoring.check_recipe()
        for _, condition in self.conditions:
            imager(self.waves, _seen(condition, card)).check()
        check_task(card.task, self.waves)

    def run(self, executor: Executor, progress: StageProgress, *, memory: int) -> TaskScores:
        """Return the scores; a stopped run goes on. Exit waves in work take at most `memory` bytes in a worker.

        Raises:
            BadInputError: as `check`, or if the work fails.
        """
        self.check()
        card, waves = self.model.card, self.waves
        paths = StudyPaths(self.folder.absolute() / f"score-{card.name}")
        paths.jobs.mkdir(parents=True, exist_ok=True)
        make_waves(waves, self.count, waves.missing(self.count), executor, progress, memory=memory)
        make_targets(card.task, waves, self.count, executor, progress)
        about = self.model.folder.absolute(), card.files[self.model.weights.name], waves, self.count
        jobs = [TaskScoreJob(*about, _seen(condition, card), paths) for _, condition in self.conditions]
        left = [job for job in jobs if not job.is_finished()]
        advance = progress.stage("conditions", len(jobs), len(jobs) - len(left))
        for failure in executor.map(run_job, left, advance):
            raise BadInputError(f"{self.model.folder}: could not be scored: {failure.reason}")
        tables = [
            pl.read_parquet(job.folder / _TABLE).select(pl.lit(label).alias("name"), pl.all())
            for (label, _), job in zip(self.conditions, jobs, strict=True)
        ]
        return TaskScores(card, "condition", pl.concat(tables), self._notes())

    def _notes(self) -> tuple[str, ...]:
        """Return, of a model that segments scans, that these scores give no verdicts."""
        if self.model.card.task != SEGMENTATION.name or self.model.scores is not None:
            return ()
        made = "only one that is made of a passband study, with conditions to score it under, has them"
        return (f"these scores give a model for STEM no verdicts: {made}",)


def _seen(condition: AnyCondition, card: ModelCard) -> AnyCondition:
    """Return a condition on the network's pixels."""
    if isinstance(condition, Condition):
        return as_seen(condition, card)
    return condition.model_copy(update={"pixel_size_angstrom": card.pixel_size_angstrom})
