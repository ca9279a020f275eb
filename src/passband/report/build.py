"""Tables, analysis, figures and report of a study, from its finished work or from its tables alone."""

from typing import Any

import polars as pl

from passband import analysis
from passband.report.study_page import write_report
from passband.studies import result_tables
from passband.studies.folder import StudyFolder
from passband.studies.stored import read_analysis, read_tables, write_analysis

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
        BadInputError: if a table, or the analysis that says where the tables came from, is missing or damaged.
    """
    names = _TABLES if folder.study.trains_on_tests else (*_TABLES, "training_sets")
    tables = read_tables(folder.paths, names, folder.study.labels)
    stored = read_analysis(folder.paths)
    _report(folder, tables, stored["failed"], stored["provenance"])


def _report(
    folder: StudyFolder, tables: dict[str, pl.DataFrame], failed: list[dict[str, Any]], provenance: dict[str, Any]
) -> None:
    study = folder.study
    pairs = analysis.join_pairs(tables["scores"], tables["shift"], tables["conditions"], study.labels)
    fits = analysis.fit_all(pairs)
    if study.trains_on_tests:
        epsilon = tables["shift"].group_by("train_condition", maintain_order=True).agg(pl.col("epsilon_train").first())
        training = tables["training"].join(
            epsilon.rename({"train_condition": "condition", "epsilon_train": "epsilon"}),
            on="condition", how="left", maintain_order="left",
        )  # fmt: skip
        findings = analysis.findings(pairs, training, fits)
    else:
        findings = analysis.compare_sets(tables["scores"])
    result = {"findings": findings, "fits": fits, "study": study.name, "study_id": study.id}
    result |= {"failed": failed, "provenance": provenance}
    write_analysis(folder.paths, result, [name for name in (*_TABLES, "training_sets") if name in tables])
    write_report(folder, tables, pairs, result)
