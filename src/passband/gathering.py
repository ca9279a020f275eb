"""From the finished cells of a study, or from its tables, to analysis and report."""

import json
import os
import platform
import sys
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl
import torch

from passband import __version__, analysis, evaluations, stages
from passband.conditions import ABERRATIONS, ANGLES, ImagingCondition
from passband.errors import BadInputError
from passband.pipeline import Plan
from passband.report.page import write_report
from passband.shift.weights import tabulated
from passband.store.atomic import write_json
from passband.store.runs import marker
from passband.store.tables import write_table

# The tables that analysis and report are made from.
_NEEDED = ("scores", "shift", "conditions", "training")


def gather(plan: Plan) -> None:
    """Write tables, analysis, figures and report from the finished cells of a study; only networks may be missing.

    Raises:
        BadInputError: if no network is tested.
    """
    # Sums are split between threads, so their number would change the last digits of the metrics.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        tables = _tables(plan)
    finally:
        torch.set_num_threads(threads)
    if "counts" not in tables:
        plan.paths.table("counts").unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(plan.paths.table(name), table)
    _report(plan, tables, plan.failures(), _provenance(plan))


def gather_again(plan: Plan) -> None:
    """Write analysis, figures and report from the tables of a study whose cells are not there.

    Raises:
        BadInputError: if a table, or the analysis that says where the tables came from, is missing.
    """
    tables = {}
    for name in _NEEDED if plan.study.is_square else (*_NEEDED, "training_sets"):
        if not plan.paths.table(name).is_file():
            raise BadInputError(
                f"{plan.paths.table(name)}: is missing, and so are the cells that it was made from; run the study: passband study run {plan.paths.folder}"
            )
        tables[name] = pl.read_parquet(plan.paths.table(name))
    try:
        held = json.loads(plan.paths.analysis.read_text(encoding="utf-8"))
        failed, provenance = held["failed"], held["provenance"]
    except (OSError, ValueError, KeyError):
        raise BadInputError(
            f"{plan.paths.analysis}: is missing or damaged, and it alone says how the tables were made; get it from where the tables came from"
        ) from None
    _report(plan, tables, failed, provenance)


def _report(
    plan: Plan, tables: dict[str, pl.DataFrame], failed: list[dict[str, Any]], provenance: dict[str, Any]
) -> None:
    result, pairs = _analysis(plan, tables)
    result |= {"study": plan.study.name, "study_id": plan.study.id, "failed": failed, "provenance": provenance}
    write_json(plan.paths.analysis, result)
    write_report(plan, tables, pairs, result)


def _analysis(plan: Plan, tables: dict[str, pl.DataFrame]) -> tuple[dict[str, Any], pl.DataFrame]:
    pairs = analysis.join_pairs(tables["scores"], tables["shift"], tables["conditions"], plan.study.labels())
    fits = analysis.fit_all(pairs)
    if plan.study.is_square:
        epsilon = tables["shift"].group_by("train_condition", maintain_order=True).agg(pl.col("epsilon_train").first())
        training = tables["training"].join(
            epsilon.rename({"train_condition": "condition", "epsilon_train": "epsilon"}),
            on="condition", how="left", maintain_order="left",
        )  # fmt: skip
        found = analysis.findings(pairs, training, fits)
    else:
        found = analysis.compare_sets(tables["scores"])
    return {"findings": found, "fits": fits}, pairs


def _tables(plan: Plan) -> dict[str, pl.DataFrame]:
    study = plan.study
    found = plan.coverage()
    if not found.blocks:
        reasons = "; ".join(sorted({f["reason"] for f in plan.failures()}))
        raise BadInputError(f"{plan.paths.folder}: no network was trained and tested ({reasons}); change the study")
    tests, images, q_max = study.tests(), plan.cells("images"), study.q_max_per_angstrom
    statistics = [cell.statistics() for cell in images]
    q, power = stages.specimen_power(study, plan.paths)
    if study.is_square:
        spectra = np.array([cell.spectra() for cell in images])
        shift = analysis.shift_table(
            [t.condition for t in tests], q_max, spectra, exit_wave=tabulated(q, power), names=[t.id for t in tests]
        )
    else:
        shift = analysis.set_shift_table(
            [(t.id, t.conditions) for t in study.trainings], [(t.id, t.condition) for t in tests], q_max
        )
    epsilon = dict(shift.select("test_condition", "epsilon_test").iter_rows())
    rows = [
        condition_row(t.condition, t.label, t.id)
        | {"epsilon": epsilon[t.id], "image_mean": s["image_mean"], "image_contrast": s["image_contrast"]}
        for t, s in zip(tests, statistics, strict=True)
    ]
    scores, counts = evaluations.tables(study, found)
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


def _provenance(plan: Plan) -> dict[str, Any]:
    """Return versions, seeds and the time that the work took, summed over all runs of it."""
    sets = stages.wave_sets(plan.study, plan.paths)
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
            "bytes_per_specimen": max(stages.bytes_per_specimen(waves) for waves in sets),
            "atoms_mean": float(np.mean([f["atoms"] for f in facts])),
            "lost_intensity_max": max(f["lost_intensity"] for f in facts),
            "dropped_intensity_max": max(f["dropped_intensity"] for f in facts),
        },
    }


def condition_row(condition: ImagingCondition, label: str, name: str | None = None) -> dict[str, Any]:
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
