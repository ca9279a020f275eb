"""From the finished cells of a study, or from its tables, to analysis and report."""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl

from passband.base.errors import BadInputError
from passband.base.version import __version__
from passband.conditions import ABERRATIONS, ANGLES, Condition
from passband.files.finished import marker
from passband.metrics.shift_table import set_shift_table, shift_table
from passband.metrics.weights import tabulated
from passband.studies import cross_tests, jobs
from passband.studies.folder import StudyFolder


def make_tables(plan: StudyFolder) -> dict[str, pl.DataFrame]:
    """Return the tables of a study by name; only networks may be missing.

    Raises:
        BadInputError: if no network is tested.
    """
    study = plan.study
    found = plan.coverage()
    if not found.blocks:
        reasons = "; ".join(sorted({f["reason"] for f in plan.failures()}))
        raise BadInputError(f"{plan.paths.folder}: no network was trained and tested ({reasons}); change the study")
    tests, images, q_max = study.tests(), plan.cells("images"), study.q_max_per_angstrom
    statistics = [cell.statistics() for cell in images]
    q, power = jobs.specimen_power(study, plan.paths)
    if study.is_square:
        spectra = np.array([cell.spectra() for cell in images])
        shift = shift_table(
            [t.condition for t in tests], q_max, spectra, exit_wave=tabulated(q, power), names=[t.id for t in tests]
        )
    else:
        shift = set_shift_table(
            [(t.id, t.conditions) for t in study.trainings], [(t.id, t.condition) for t in tests], q_max
        )
    epsilon = dict(shift.select("test_condition", "epsilon_test").iter_rows())
    rows = [
        condition_row(t.condition, t.label, t.id)
        | {"epsilon": epsilon[t.id], "image_mean": s["image_mean"], "image_contrast": s["image_contrast"]}
        for t, s in zip(tests, statistics, strict=True)
    ]
    scores, counts = cross_tests.tables(study, found)
    training = [
        cell.table()
        .with_columns(condition=pl.lit(cell.subject.id), seed=pl.lit(cell.seed, pl.Int64))
        .select("condition", "seed", pl.all().exclude("condition", "seed"))
        for cell, weights in zip(found.networks, found.weights, strict=True)
        if weights is not None
    ]
    result = {
        "scores": scores,
        "conditions": pl.DataFrame(rows, infer_schema_length=None),
        "shift": shift,
        "training": pl.concat(training),
        "specimen_power": pl.DataFrame({"q_per_angstrom": q, "power_angstrom2": power}),
    }
    if not study.is_square:
        members = [condition_row(c, t.label, t.id) for t in study.trainings for c in t.conditions]
        result["training_sets"] = pl.DataFrame(members, infer_schema_length=None)
    if counts is not None:
        result["counts"] = counts
    return result


def provenance(plan: StudyFolder) -> dict[str, Any]:
    """Return versions, seeds and the time that the work took, summed over all runs of it."""
    sets = jobs.wave_sets(plan.study, plan.paths)
    facts = [fact for waves in sets for fact in waves.facts(plan.study.split.total)]
    seconds = {"waves": sum(f["seconds"] for f in facts)}
    for stage in ("train", "images"):
        seconds[stage] = sum((marker(cell.folder) or {}).get("seconds", 0.0) for cell in plan.cells(stage))
    seconds["tests"] = plan.coverage().seconds
    return {
        "versions": {"passband": __version__, "python": platform.python_version()}
        | {
            name: version(name)
            for name in ("torch", "abtem", "ase", "numpy", "scipy", "scikit-learn", "zarr", "polars")
            if name != "abtem" or plan.study.exit_waves.engine == "abtem"
        },
        "platform": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {sys.version_info.major}.{sys.version_info.minor}",
        "seeds": {
            "specimens": [recipe.seed for recipe in plan.study.recipes.values()],
            "networks": list(range(plan.study.seeds)),
        },
        "core_seconds": seconds,
        "waves": {
            "ids": [waves.folder.name for waves in sets],
            "specimens": len(facts),
            "bytes_per_specimen": max(jobs.bytes_per_specimen(waves) for waves in sets),
            "atoms_mean": float(np.mean([f["atoms"] for f in facts])),
            "lost_intensity_max": max(f["lost_intensity"] for f in facts),
            "dropped_intensity_max": max(f["dropped_intensity"] for f in facts),
        },
    }


def condition_row(condition: Condition, label: str, name: str | None = None) -> dict[str, Any]:
    """Return a condition as a flat row of a table, under a name, or its id."""
    content = condition.to_dict()
    aberrations = content.pop("aberrations")
    return {
        "condition": condition.id if name is None else name,
        "label": label,
        "defocus_angstrom": condition.defocus_angstrom,
        **content,
        **{symbol: float(aberrations.get(symbol, 0.0)) for symbol in [*ABERRATIONS, *ANGLES.values()]},
    }
