"""The tables of a study from its finished jobs."""

import json
import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl

from passband.analysis.conformal import coverage_table, with_value_errors
from passband.analysis.loss_prediction import has_usual_pixels, law
from passband.base.errors import BadInputError
from passband.base.version import __version__
from passband.conditions import ABERRATIONS, ANGLES, AnyCondition
from passband.execution.base import one_thread
from passband.files.jobs import peek
from passband.files.tables import read_table, write_table
from passband.learning import TrainingConfig
from passband.metrics.shift_table import EVERY, USUAL, lacking, set_shift_table, shift_table, with_metrics
from passband.metrics.texture import Texture, film_excess, mean_contrast
from passband.metrics.weights import tabulated
from passband.simulation.modalities import modality_name
from passband.studies import cross_tests
from passband.studies.folder import StudyFolder
from passband.studies.wave_jobs import bytes_per_specimen, specimen_power, textures, wave_sets


def write_tables(folder: StudyFolder, metrics: Sequence[str] = USUAL) -> dict[str, pl.DataFrame]:
    """Write the tables of a study into its folder and return them by name; a BadInputError if no network is tested.

    `metrics` are those of shift.parquet, `shift_table.USUAL` or `EVERY`; those of training sets are always the same.
    """
    with one_thread():
        tables = _make_tables(folder, metrics)
    for name in ("counts", "coverage"):
        if name not in tables:
            folder.paths.table(name).unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(folder.paths.table(name), table)
    return tables


def _make_tables(folder: StudyFolder, metrics: Sequence[str]) -> dict[str, pl.DataFrame]:
    study, covered = folder.study, folder.coverage()
    if not covered.finished:
        reasons = "; ".join(sorted({f["reason"] for f in folder.failures()}))
        raise BadInputError(
            f"{folder.paths.folder}: no network was trained and tested ({reasons}); correct that, or change the study"
        )
    scores, counts = cross_tests.tables(study, covered)
    training = [
        job.history().select(
            pl.lit(job.domain.id).alias("condition"), pl.lit(job.seed, pl.Int64).alias("seed"), pl.all()
        )
        for job, weights in zip(covered.networks, covered.weights, strict=True)
        if weights is not None
    ]
    result = {"scores": scores, "training": pl.concat(training), **condition_tables(folder, metrics)}
    if counts is not None:
        result["counts"] = counts
        if study.learnt.value and study.trains_on_tests:
            tests = with_value_errors(counts)
            shares = coverage_table(tests, tests.filter(pl.col("train_condition") == pl.col("test_condition")))
            if len(shares):
                result["coverage"] = shares
    return result


def condition_tables(folder: StudyFolder, metrics: Sequence[str] = USUAL) -> dict[str, pl.DataFrame]:
    """Return the tables that no network has a part in, by name: conditions, shift, specimen_power, and of sets training_sets.

    `metrics` are those of shift. The exit waves and the jobs of test images must be finished.
    """
    study = folder.study
    tests, q_max = study.tests, study.q_max_per_angstrom
    q, power = specimen_power(study, folder.paths)
    if study.trains_on_tests:
        ids, conditions = [t.id for t in tests], [t.condition for t in tests]
        wave = tabulated(q, power)
        shift = shift_table(conditions, q_max, _spectra(folder), exit_wave=wave, names=ids, metrics=metrics)
        if (seen := textures(study, folder.paths)) is not None:
            # The law knows networks of the usual loss on HRTEM images of the usual pixels.
            usual = study.training.loss == TrainingConfig().loss and modality_name(study.stored_as) == "hrtem"
            predicted = usual and has_usual_pixels(conditions)
            shift = shift.with_columns(_texture_columns(seen, predicted=predicted))
    else:
        sets = [(t.id, t.conditions) for t in study.trainings]
        shift = set_shift_table(sets, [(t.id, t.condition) for t in tests], q_max)
    epsilon = dict(shift.select("test_condition", "epsilon_test").iter_rows())
    rows = [
        condition_row(t.condition, t.label, t.id) | {"epsilon": epsilon[t.id], **job.statistics()}
        for t, job in zip(tests, folder.image_jobs, strict=True)
    ]
    result = {
        "conditions": pl.DataFrame(rows, infer_schema_length=None),
        "shift": shift,
        "specimen_power": pl.DataFrame({"q_per_angstrom": q, "power_angstrom2": power}),
    }
    if not study.trains_on_tests:
        members = [condition_row(c, t.label, t.id) for t in study.trainings for c in t.conditions]
        result["training_sets"] = pl.DataFrame(members, infer_schema_length=None)
    return result


def with_more_metrics(folder: StudyFolder, shift: pl.DataFrame, names: Sequence[str] = EVERY) -> pl.DataFrame:
    """Return a study's shift table with those metrics that it lacks, computed now; nothing is written.

    Raises:
        BadInputError: if they cannot be computed, for the study was run elsewhere.
    """
    asked, study, power = lacking(shift, names), folder.study, folder.paths.table("specimen_power")
    if not asked or not study.trains_on_tests:
        return shift
    if not power.is_file() or folder.missing(folder.image_jobs):
        what = f"lacks {len(asked)} metrics, such as {asked[0]}, and the folder has not all that they are computed from"
        raise BadInputError(what, remedy="use the folder where the study was run", place=folder.paths.table("shift"))
    tests, wave = study.tests, tabulated(*read_table(power).to_numpy().T)
    given = [t.condition for t in tests], study.q_max_per_angstrom, _spectra(folder), wave, [t.id for t in tests]
    with one_thread():
        return with_metrics(shift, asked, *given)


def _spectra(folder: StudyFolder) -> np.ndarray:
    return np.array([job.spectra() for job in folder.image_jobs])


def _texture_columns(seen: Texture, *, predicted: bool) -> list[pl.Series]:
    """Return the columns of texture of all pairs of B domains, training by training, with the predicted loss or without."""
    contrast, size = mean_contrast(seen), len(seen.film)
    values = {
        "film_excess": film_excess(seen, seen),
        "texture_contrast_train": contrast[:, None].expand(size, size),
        "texture_contrast_test": contrast[None].expand(size, size),
    }
    if predicted:
        values["predicted_log_loss"] = law("log_loss").predict(seen, seen).log_loss
    return [pl.Series(name, value.flatten().numpy()) for name, value in values.items()]


def provenance(folder: StudyFolder) -> dict[str, Any]:
    """Return versions, seeds and the time that the work took, summed over all runs of it."""
    sets = wave_sets(folder.study, folder.paths)
    facts = [fact for waves in sets for fact in waves.facts(folder.study.split.total)]
    seconds = {"waves": sum(f["seconds"] for f in facts)}
    for stage, jobs in folder.jobs.items():
        seconds[stage] = sum((peek(job.folder) or {}).get("seconds", 0.0) for job in jobs)
    seconds["tests"] = folder.coverage().seconds
    engine = ["abtem"] if folder.study.stored_as.targets.engine == "abtem" else []
    libraries = ["torch", *engine, "ase", "numpy", "scipy", "scikit-learn", "zarr", "polars"]
    versions = {"passband": __version__, "python": platform.python_version()}
    specimens = [recipe.seed for recipe in folder.study.recipes.values()]
    return {
        "versions": versions | {name: version(name) for name in libraries},
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {sys.version_info.major}.{sys.version_info.minor}",
        "seeds": {"specimens": specimens, "networks": list(range(folder.study.seeds))},
        "core_seconds": seconds,
        "waves": {
            "ids": [waves.folder.name for waves in sets],
            "specimens": len(facts),
            "bytes_per_specimen": max(bytes_per_specimen(waves) for waves in sets),
            "atoms_mean": float(np.mean([f["atoms"] for f in facts])),
            "lost_intensity_max": max(f["lost_intensity"] for f in facts),
            "dropped_intensity_max": max(f["dropped_intensity"] for f in facts),
        },
    }


def condition_row(condition: AnyCondition, label: str, name: str | None = None) -> dict[str, Any]:
    """Return a condition as a flat row of a table, under a name, or its id; a detector as JSON, since its curves may be numbers or lists."""
    content = condition.to_dict()
    aberrations = content.pop("aberrations")
    if "detector" in content:
        content["detector"] = json.dumps(content["detector"])
    return {
        "condition": condition.id if name is None else name,
        "label": label,
        "defocus_angstrom": condition.defocus_angstrom,
        **content,
        **{symbol: float(aberrations.get(symbol, 0.0)) for symbol in [*ABERRATIONS, *ANGLES.values()]},
    }
