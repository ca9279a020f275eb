"""Targets of tasks other than segmentation, whose masks lie with the exit waves: making them, and reading them beside the waves."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from passband.base.errors import BadInputError
from passband.conditions import AnyCondition
from passband.execution.base import Executor, Progress, StageProgress
from passband.files.jobs import REVISIONS, FolderJob, run_job
from passband.learning import SEGMENTATION, task_of
from passband.learning.regression import ConditionValue
from passband.simulation.wave_store import WaveSet
from passband.specimens import draw_specimen
from passband.studies.wave_jobs import read_waves

# Specimens of one job, and those by which a task is judged to suit a recipe.
_BLOCK, _LOOKED_AT = 32, 4
_FILE = "targets.npy"


@dataclass(frozen=True)
class TargetsJob(FolderJob):
    """Make a task's targets of some specimens of a wave set."""

    kind = "targets"
    waves: WaveSet
    task: str
    first: int

    @property
    def home(self) -> Path:
        """The folder of targets, beside the waves."""
        return self.waves.folder / "targets"

    @property
    def label(self) -> str:
        """What is made, in words."""
        return f"targets ({self.task}) of specimens {self.first} to {self.first + _BLOCK - 1}"

    @property
    def content(self) -> dict[str, Any]:
        """All that decides the targets."""
        return {
            "revision": REVISIONS[self.kind],
            "waves": self.waves.folder.name,
            "task": self.task,
            "specimens": [self.first, self.first + _BLOCK],
        }

    @property
    def units(self) -> float:
        """Units of progress: specimens."""
        return float(_BLOCK)

    def make(self, folder: Path, progress: Progress) -> None:
        """Draw the specimens and write their targets."""
        task, recipe, targets = task_of(self.task), self.waves.recipe, []
        for index in range(self.first, self.first + _BLOCK):
            targets.append(task.target(recipe, draw_specimen(recipe, index), self.waves.config.targets))
            progress(1.0)
        np.save(folder / _FILE, np.stack(targets))

    def read(self) -> np.ndarray:
        """Return the targets [N, n, n]; a BadInputError if they are missing or damaged."""
        if not self.is_finished():
            what, remedy = f"{self.label} are missing or damaged", "run the same command again, which makes them"
            raise BadInputError(what, remedy=remedy, place=self.folder)
        return np.load(self.folder / _FILE)


def make_targets(task: str, waves: WaveSet, specimens: int, executor: Executor, progress: StageProgress) -> None:
    """Make the missing targets of the first specimens of a wave set, or raise a BadInputError; of segmentation, and of the condition, there are none to make."""
    if task == SEGMENTATION.name or isinstance(task_of(task), ConditionValue):
        return
    jobs = [TargetsJob(waves, task, first) for first in range(0, specimens, _BLOCK)]
    missing = [job for job in jobs if not job.is_finished()]
    stage = progress.stage(f"targets: {task}", len(jobs) * _BLOCK, (len(jobs) - len(missing)) * _BLOCK)
    for failure in executor.map(run_job, missing, stage):
        what = f"{failure.task.label} could not be made in {failure.tries} tries ({failure.reason})"
        raise BadInputError(what, remedy="run the same command again", place=waves.folder)


@functools.lru_cache(maxsize=2)
def read_targets(task: str, waves: WaveSet, start: int, stop: int) -> Tensor:
    """Return a task's targets of specimens start to stop − 1, bool, uint8 or float32 [N, m, m]; each worker reads them once."""
    if task == SEGMENTATION.name:
        return read_waves(waves, start, stop)[1]
    firsts = range(start // _BLOCK * _BLOCK, stop, _BLOCK)
    parts = [TargetsJob(waves, task, first).read() for first in firsts]
    return torch.from_numpy(np.concatenate(parts)[start - firsts[0] : stop - firsts[0]])


def targets_under(task: str, waves: WaveSet, start: int, stop: int, conditions: Sequence[AnyCondition]) -> Tensor:
    """Return a task's targets of images of specimens start to stop − 1, which take turns under conditions.

    They are those of `read_targets`, or of a value of the condition float32 [N, 1, 1].
    """
    known = task_of(task)
    if not isinstance(known, ConditionValue):
        return read_targets(task, waves, start, stop)
    values = torch.tensor([known.of_condition(condition) for condition in conditions])
    return values[torch.arange(stop - start) % len(values), None, None]


def check_task(task: str, waves: WaveSet) -> None:
    """Refuse, by a BadInputError, a task whose target is the same for all specimens of a wave set, as a look at some shows."""
    # What has been made was looked at. Whether conditions differ, a study checks.
    if task == SEGMENTATION.name or isinstance(task_of(task), ConditionValue):
        return
    if TargetsJob(waves, task, 0).is_finished():
        return
    recipe = waves.recipe
    looked_at = [
        task_of(task).target(recipe, draw_specimen(recipe, i), waves.config.targets) for i in range(_LOOKED_AT)
    ]
    low, high = (float(f(looked_at)) for f in (np.min, np.max))
    if low == high:
        what = (
            f"task {task}: its target is {low:g} in all of the first {_LOOKED_AT} specimens, so nothing can be learnt"
        )
        raise BadInputError(what, value=task, remedy="give specimens that vary in it, or choose another task")
