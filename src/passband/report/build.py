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

# Tables that analysis and report are made from.
_TABLES = ("scores", "shift", "conditions", "training")


def write_results(folder: StudyFolder) -> None:
    """Write tables, analysis, figures and report from the finished jobs of a study; failed networks are left out.

    Raises:
        BadInputError: if no network is tested.
    """
    tables = result_tables.write_tables(folder)
    _report(folder, tables, folder.failures(), result_tables.provenance(folder))


def rebuild_report(folder: StudyFolder) -> None:
    """Write analysis, figures and report from the tables of a study whose jobs are missing.

    Raises:
        BadInputError: if a table, or the analysis that says where the tables came from, is missing.
    """
    tables = {}
    for name in _TABLES if folder.study.trains_on_tests else (*_TABLES, "training_sets"):
        if not folder.paths.table(name).is_file():
            raise BadInputError(
                f"{folder.paths.table(name)}: is missing, and so are the jobs that it was made from; run the study: passband study run {folder.paths.folder}"
            )
        tables[name] = pl.read_parquet(folder.paths.table(name))
    try:
        stored = json.loads(folder.paths.analysis.read_text(encoding="utf-8"))
        failed, provenance = stored["failed"], stored["provenance"]
    except (OSError, ValueError, KeyError):
        raise BadInputError(
            f"{folder.paths.analysis}: is missing or damaged, and it alone says how the tables were made; get it from where the tables came from"
        ) from None
    _report(folder, tables, failed, provenance)


def _report(
    folder: StudyFolder, tables: dict[str, pl.DataFrame], failed: list[dict[str, Any]], provenance: dict[str, Any]
) -> None:
    result, pairs = _analysis(folder, tables)
    result |= {"study": folder.study.name, "study_id": folder.study.id, "failed": failed, "provenance": provenance}
    write_json(folder.paths.analysis, result)
    write_report(folder, tables, pairs, result)


def _analysis(folder: StudyFolder, tables: dict[str, pl.DataFrame]) -> tuple[dict[str, Any], pl.DataFrame]:
    pairs = analysis.join_pairs(tables["scores"], tables["shift"], tables["conditions"], folder.study.labels)
    fits = analysis.fit_all(pairs)
    if folder.study.trains_on_tests:
        epsilon = tables["shift"].group_by("train_condition", maintain_order=True).agg(pl.col("epsilon_train").first())
        training = tables["training"].join(
            epsilon.rename({"train_condition": "condition", "epsilon_train": "epsilon"}),
            on="condition", how="left", maintain_order="left",
        )  # fmt: skip
        findings = analysis.findings(pairs, training, fits)
    else:
        findings = analysis.compare_sets(tables["scores"])
    return {"findings": findings, "fits": fits}, pairs
