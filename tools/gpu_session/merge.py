"""Put what a session brought back where it belongs: rows beside the benchmarks' results, tables into folders of studies."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rows import CORES, RESULTS, store

from passband.base.errors import BadInputError
from passband.execution.processes import Processes
from passband.files.atomic import has, read_json
from passband.files.jobs import run_job
from passband.files.tables import write_table
from passband.learning import SEGMENTATION
from passband.learning.segmentation import PIXELS
from passband.metrics.shift_table import EVERY
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.result_tables import condition_tables, provenance
from passband.studies.stored import write_analysis
from passband.studies.study import Study, load_study
from tools.gpu_session import fleet
from tools.gpu_session.fleet import Results
from tools.gpu_session.session import REPORT


def merge(session: Path, work: Path, results: Path | None) -> Iterator[str]:
    """Merge a session's folder; yield what was done, in lines.

    Rows of a CPU are a trial's and merged only into a folder that is given. Tables need exit waves of the test specimens, which are made
    here. Raises a BadInputError if the folder holds no session.
    """
    report = read_json(session / REPORT)
    if not has(
        report,
        {"device": str, "kind": str, "date": str, "versions": dict, "steps": dict, "rows": list, "studies": dict},
    ):
        raise BadInputError(f"{session}: holds no {REPORT} of a session; give the folder that `run --out` named")
    for name, step in report["steps"].items():
        yield f"{name}: {step['state']} {step.get('reason', '')}".rstrip()
    if report["kind"] == "cuda" or results is not None:
        machine = re.sub(r"[^a-z0-9]+", "-", report["device"].lower()).strip("-")
        folder = RESULTS if results is None else results
        store(_noted(report), machine, report["versions"], folder, report["date"])
        yield f"{len(report['rows'])} rows: {folder / machine}.json; `python benchmarks/draw.py` draws them"
    for name in report["studies"]:
        if (session / f"{name}.npz").is_file():
            networks = tables(Results.read(session / f"{name}.npz"), work / name, report)
            yield f"{networks} networks: `passband study report {work / name}` makes the report"


def _noted(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows, the first with what the checks found."""
    checks = {n.removeprefix("check "): s for n, s in report["steps"].items() if n.startswith("check ")}
    said = ", ".join(f"{n} {_verdict(s)}" for n, s in checks.items())
    rows = [dict(row) for row in report["rows"]]
    if rows and said:
        rows[0]["note"] = "; ".join(
            filter(None, [rows[0]["note"], f"checked against a CPU in the same session: {said}"])
        )
    return rows


def _verdict(step: dict[str, Any]) -> str:
    facts = step.get("facts", {})
    agrees = {True: "agree", False: "DISAGREE"}.get(facts.get("agrees"), step["state"])
    if "relative_l2" in facts:
        return f"{agrees} ({max(facts['relative_l2'].values()):.0e} relative L2)"
    if "pixels" in facts:
        return f"{agrees} ({facts['pixels']} of {facts['of']} pixels)"
    return agrees


def tables(results: Results, folder: Path, report: dict[str, Any]) -> int:
    """Write the tables of a study into a folder, of all seeds that are complete; return the number of networks.

    Raises:
        BadInputError: if the folder holds another study, or no seed was trained under every condition.
    """
    study = _study(results, folder)
    StudyFolder(study, StudyPaths(folder)).adopt()
    scores, training, diverged = _networks(results, study)
    # A folder with jobs would be a study to finish; their folder is beside it, because exit waves are shared.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as jobs:
        held = StudyFolder(study, StudyPaths(Path(jobs)))
        _make_images(held)
        made = {"scores": scores, "training": training, **condition_tables(held, EVERY)}
        known = provenance(held)
    for name, table in made.items():
        write_table(StudyPaths(folder).table(name), table)
    failed = [{"stage": "train", "what": what, "reason": "the loss is not finite", "tries": 1} for what in diverged]
    known["core_seconds"] |= dict(zip(("train", "tests"), np.sum(results.seconds, 0).tolist(), strict=True))
    known["platform"], known["versions"] = report["device"], known["versions"] | report["versions"]
    write_analysis(StudyPaths(folder), {"failed": failed, "provenance": known}, made)
    return len(results.seed)


def _make_images(held: StudyFolder) -> None:
    """Make the exit waves and the test images of a study that are missing."""
    fleet.waves(held.study, held.paths, CORES)
    executor = Processes(CORES)
    try:
        if failures := executor.map(run_job, held.missing(held.image_jobs), lambda share: None):
            raise BadInputError(f"{failures[0].task.label} could not be made ({failures[0].reason})")
    finally:
        executor.close()


def _study(results: Results, folder: Path) -> Study:
    """Return the study with as many seeds as were trained under every condition."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ".returned.yaml"
    path.write_text(results.study, encoding="utf-8")
    try:
        study = load_study(path)
    finally:
        path.unlink()
    trained = set(zip(map(int, results.domain), map(int, results.seed), strict=True))
    width, seeds = len(study.trainings), 0
    while seeds < study.seeds and all((d, seeds) in trained for d in range(width)):
        seeds += 1
    if seeds == 0:
        raise BadInputError(
            f"{folder}: no seed was trained under all {width} conditions; the scores stay in the session's folder"
        )
    return study.model_copy(update={"seeds": seeds})


def _networks(results: Results, study: Study) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """Return the tables of scores and of losses per epoch, in a study's order, and which networks diverged."""
    order = sorted(range(len(results.seed)), key=lambda i: (results.domain[i], results.seed[i]))
    order = [i for i in order if results.seed[i] < study.seeds]
    labels = {i: f"network under {study.trainings[results.domain[i]].label}, seed {results.seed[i]}" for i in order}
    diverged = [labels[i] for i in order if not np.isfinite(results.history[i]).all()]
    kept = [i for i in order if labels[i] not in diverged]
    tests, epochs = [t.id for t in study.tests], study.training.epochs
    domains = [study.trainings[results.domain[i]].id for i in kept]
    seeds = np.array([results.seed[i] for i in kept], dtype=np.int64)
    sums = dict(
        zip(results.columns, np.array([results.sums[i] for i in kept]).reshape(-1, len(results.columns)).T, strict=True)
    )
    kinds = {int: pl.Int64, float: pl.Float64}
    scores = pl.DataFrame(
        {
            "train_condition": np.repeat(domains, len(tests)),
            "test_condition": tests * len(kept),
            "seed": seeds.repeat(len(tests)),
            "loss": np.concatenate([results.loss[i] for i in kept]),
            "n_images": np.full(len(kept) * len(tests), study.split.test, dtype=np.int64),
            **{name: pl.Series(values).cast(kinds[SEGMENTATION.counts[name]]) for name, values in sums.items()},
        }
    )
    of_sums = SEGMENTATION.scores({name: pl.col(name) for name in sums})
    scores = scores.with_columns(**of_sums)
    first = ["train_condition", "test_condition", "seed", "loss", "dice", *PIXELS, "n_images"]
    history = np.concatenate([results.history[i] for i in kept])
    training = pl.DataFrame(
        {
            "condition": np.repeat(domains, epochs),
            "seed": seeds.repeat(epochs),
            "epoch": np.tile(np.arange(1, epochs + 1, dtype=np.int64), len(kept)),
            "train_loss": history[:, 0],
            "validation_loss": history[:, 1],
        }
    )
    return scores.select(*first, *(n for n in of_sums if n not in first)), training, diverged
