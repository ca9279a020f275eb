"""All studies of the results, one after another: what they take, and running them."""

from functools import partial
from pathlib import Path
from typing import Any

from passband.base.errors import BadInputError
from passband.execution.base import Executor, StageProgress
from passband.metrics.shift_table import EVERY
from passband.report.study_page import write_results
from passband.studies import cost, runner
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.study import Study, load_study
from replication import failure_pictures, zero_places
from replication.pages import keep, study_names, write_pages
from replication.paths import ResultsPaths

#: Budgets, and how long they are meant to take on two cores.
BUDGETS = {"quick": "half an hour", "standard": "up to 8 hours", "full": "weeks; for a cluster or a GPU"}


def load_studies(folder: Path, budget: str, only: list[str]) -> dict[str, Study]:
    """Return the studies by name.

    Args:
        folder: of their YAML files.
        budget: which of the files' budgets to apply.
        only: names to keep; all if empty.

    Raises:
        BadInputError: for an unknown budget or name, or a bad file.
    """
    if budget not in BUDGETS:
        raise BadInputError(f"--budget {budget}: is none of {', '.join(BUDGETS)}")
    unknown = sorted(set(only) - set(study_names()))
    if unknown:
        raise BadInputError(f"--only {unknown[0]}: is no study of the results; they are {', '.join(study_names())}")
    studies = {}
    for name in study_names():
        if only and name not in only:
            continue
        stem, _, variant = name.partition("-")
        studies[name] = load_study(folder / f"{stem}.yaml", budget=budget, variant=variant or None)
    return studies


def estimate(studies: dict[str, Study], paths: ResultsPaths, executor: Executor, cores: int) -> list[dict[str, Any]]:
    """Return what each study takes; studies alike in network and optics are timed once.

    Args:
        studies: from `load_studies`.
        paths: of the results.
        executor: whose workers to time.
        cores: that will work at the same time.
    """
    timed: dict[Any, dict[str, float]] = {}
    found = []
    for name, study in studies.items():
        run = StudyPaths(paths.run(name))
        unfinished = any(StudyFolder(study, run).todo().values())
        first = study.trainings[0]
        alike = (study.network, len(first.conditions) == 1 and first.conditions[0].is_round, study.training.optimizer)
        if unfinished and alike not in timed:
            timed[alike] = cost.measure(study, executor)
        seconds = timed.get(alike) or dict.fromkeys(cost.PARTS, 0.0)
        found.append(cost.estimate(study, run, seconds, cores) | {"study": name})
    return found


def run(
    studies: dict[str, Study], paths: ResultsPaths, budget: str, executor: Executor, progress: StageProgress, group: int
) -> dict[str, Any]:
    """Run the studies that are not finished, keep the tables of each, and write the pages.

    Raises:
        BadInputError: as `runner.run` does, before any work if a folder holds another study.
    """
    for name, study in studies.items():
        StudyFolder(study, StudyPaths(paths.run(name))).check()
    # The pages compare all metrics.
    finish = partial(write_results, metrics=EVERY)
    given_up: dict[str, list[dict[str, Any]]] = {}
    for i, (name, study) in enumerate(studies.items()):
        progress.note(f"study {i + 1} of {len(studies)}: {name}")
        failed = runner.run(study, paths.run(name), executor, progress, finish=finish, group=group)
        if failed:
            given_up[name] = failed
        keep(StudyPaths(paths.run(name)), paths, name)
    failure_pictures.keep(studies, paths)
    if zero_places.STUDY in studies:
        zero_places.write_places(paths.study(zero_places.STUDY))
    progress.note("pages")
    return write_pages(paths, budget) | {"given_up": given_up}
