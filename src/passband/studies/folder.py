"""The folder of a study: what is finished and what is missing, and the lock of a run."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from passband.base.errors import BadInputError, parameter
from passband.files import atomic
from passband.files.finished import is_finished
from passband.studies import cross_tests, jobs
from passband.studies.paths import StudyPaths
from passband.studies.study import Study

#: The stages made of cells, in their order, and what their progress is called; tests of the networks follow.
STAGES = {"train": "networks", "images": "images"}


@dataclass(frozen=True)
class StudyFolder:
    """All cells of a study."""

    study: Study
    paths: StudyPaths

    def cells(self, stage: str) -> list[jobs.Cell]:
        """Return the cells of a stage in the order of the tables."""
        seeds = range(1 if stage == "images" else self.study.seeds)
        return [
            jobs.Cell(self.study, self.paths, stage, i, s)
            for i in range(len(self.study.tests() if stage == "images" else self.study.trainings))
            for s in seeds
        ]

    def missing(self, stage: str) -> list[jobs.Cell]:
        """Return the cells of a stage that are not finished."""
        return [cell for cell in self.cells(stage) if not is_finished(cell.folder)]

    def coverage(self) -> cross_tests.Coverage:
        """Return which networks are tested on which conditions."""
        return cross_tests.coverage(self.study, self.paths, self.cells("train"))

    def failures(self) -> list[dict[str, Any]]:
        """Return what the last run gave up: stage, what, reason and tries of each."""
        try:
            content = json.loads(self.paths.failed.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return content if isinstance(content, list) else []

    def require_finished(self) -> None:
        """Raise if anything is missing that the last run did not give up.

        Raises:
            BadInputError: saying what is missing and how to go on.
        """
        unfinished = {stage: n for stage, n in self.todo().items() if n}
        if unfinished and not (self.failures() and set(unfinished) <= {"train", "tests"}):
            what = ", ".join(f"{n} {stage}" for stage, n in unfinished.items())
            raise BadInputError(
                f"{self.paths.folder}: the study is not finished ({what} missing); `passband study run {self.paths.folder}` goes on with it"
            )

    def planned(self) -> dict[str, Any] | None:
        """Return what `study plan` expected, if it was asked."""
        try:
            content = json.loads(self.paths.plan.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content if isinstance(content, dict) else None

    def todo(self) -> dict[str, int]:
        """Return the units of each stage that are missing."""
        return {stage: n["total"] - n["done"] for stage, n in self.counts().items()}

    def counts(self) -> dict[str, dict[str, int]]:
        """Return finished and total units of each stage; tests are pairs of network and condition."""
        sets, each = jobs.wave_sets(self.study, self.paths), self.study.split.total
        total = each * len(sets)
        result = {"waves": {"done": total - sum(len(waves.missing(each)) for waves in sets), "total": total}}
        for stage in STAGES:
            cells = self.cells(stage)
            result[stage] = {"done": len(cells) - len(self.missing(stage)), "total": len(cells)}
        done = self.coverage().done
        return result | {"tests": {"done": int(done.sum()), "total": done.size}}


@contextmanager
def locked(paths: StudyPaths) -> Iterator[None]:
    """Hold the study folder, so that two runs do not work in it at once; a killed run lets go of it.

    Raises:
        BadInputError: if another run holds it.
    """
    try:
        with atomic.locked(paths.lock, wait=False):
            yield
    except BlockingIOError:
        raise BadInputError(
            f"{paths.folder}: another run is working in this folder; wait for it, or choose another {parameter('folder')}"
        ) from None
