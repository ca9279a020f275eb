"""Tables, analysis, figures and report of a study, from its finished work or from its tables alone."""

import json
from typing import Any

import polars as pl

from passband import analysis
from passband.base.errors import BadInputError
from passband.files.atomic import write_json
from passband.report.study_page import write_report
from passband.studies import result_tables
from passband.studies.folder import StudyFolder

# The tables that analysis and report are made from.
_NEEDED = ("scores", "shift", "conditions", "training")


def gather(plan: StudyFolder) -> None:
    """Write tables, analysis, figures and report from the finished jobs of a study; only networks may be missing.

    Raises:
        BadInputError: if no network is tested.
    """
    tables = result_tables.write_tables(plan)
    _report(plan, tables, plan.failures(), result_tables.provenance(plan))


def rebuild_report(plan: StudyFolder) -> None:
    """Write analysis, figures and report from the tables of a study whose jobs are not there.

    Raises:
        BadInputError: if a table, or the analysis that says where the tables came from, is missing.
    """
    tables = {}
    for name in _NEEDED if plan.study.trains_on_tests else (*_NEEDED, "training_sets"):
        if not plan.paths.table(name).is_file():
            raise BadInputError(
                f"{plan.paths.table(name)}: is missing, and so are the jobs that it was made from; run the study: passband study run {plan.paths.folder}"
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
    plan: StudyFolder, tables: dict[str, pl.DataFrame], failed: list[dict[str, Any]], provenance: dict[str, Any]
) -> None:
    result, pairs = _analysis(plan, tables)
    result |= {"study": plan.study.name, "study_id": plan.study.id, "failed": failed, "provenance": provenance}
    write_json(plan.paths.analysis, result)
    write_report(plan, tables, pairs, result)


def _analysis(plan: StudyFolder, tables: dict[str, pl.DataFrame]) -> tuple[dict[str, Any], pl.DataFrame]:
    pairs = analysis.join_pairs(tables["scores"], tables["shift"], tables["conditions"], plan.study.labels)
    fits = analysis.fit_all(pairs)
    if plan.study.trains_on_tests:
        epsilon = tables["shift"].group_by("train_condition", maintain_order=True).agg(pl.col("epsilon_train").first())
        training = tables["training"].join(
            epsilon.rename({"train_condition": "condition", "epsilon_train": "epsilon"}),
            on="condition", how="left", maintain_order="left",
        )  # fmt: skip
        found = analysis.findings(pairs, training, fits)
    else:
        found = analysis.compare_sets(tables["scores"])
    return {"findings": found, "fits": fits}, pairs
