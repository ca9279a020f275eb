"""Rank the shift metrics of a finished study: from its tables to a table, a figure and a page."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from passband import analysis
from passband.base.errors import BadInputError
from passband.figures import metric_ranking as ranking_figure
from passband.figures import style
from passband.files.atomic import write_text
from passband.files.tables import write_table
from passband.metrics.registry import column
from passband.metrics.shift_table import lacking
from passband.studies.folder import StudyFolder
from passband.studies.paths import StudyPaths
from passband.studies.result_tables import with_more_metrics
from passband.studies.stored import read_tables

_SUBSETS = {
    "all": "all pairs",
    "without_low_epsilon": f"without conditions of ε < {analysis.LOW_EPSILON:g}",
    "similar_dose": "doses alike to a factor of 1.5",
}


_METHOD = [
    "Made by `passband study rank` of this folder, which reads only the tables beside this page.",
    "",
    "![Held-out R² of each metric](figures/ranking.svg)",
    "",
    "R² of a quadratic fit (a metric, its square; for two also their product) to the loss, mean over seeds, of the pairs",
    "off the diagonal. *train*: each training condition predicted by a fit to all others; *test*: the same for test",
    "conditions; *both*: each pair predicted by a fit to the pairs that share neither of its conditions. In brackets the",
    f"central 95 % when conditions are drawn again with replacement and all is fitted again ({analysis.RESAMPLES} times). Sorted by *both*.",
]


def rank_folder(folder: Path) -> dict[str, Any]:
    """Write ranking.parquet, ranking.md and figures/ranking.{png,svg} into a study folder; return its sentences and paths.

    Metrics that shift.parquet lacks are computed.

    Raises:
        BadInputError: if a table that this needs is missing or damaged, or says too little.
    """
    paths = StudyPaths(folder)
    tables = read_tables(paths, ("scores", "shift"))
    shift = tables["shift"]
    if lacking(shift) and paths.study.is_file():
        shift = with_more_metrics(StudyFolder.open(folder), shift)
    try:
        ranked = analysis.rank(tables["scores"], shift)
    except BadInputError as fault:
        fault.place = str(folder)
        raise
    write_table(paths.table("ranking"), ranked)
    sentences = findings(ranked)
    named = pl.col("predictor").map_elements(_symbol, return_dtype=pl.String)
    singles = dict(_subsets(ranked, "log_loss"))[_SUBSETS["all"]].filter(pl.col("metrics") == 1)
    with style.figure(8.4, 9.0) as made:
        ranking_figure.draw(singles.with_columns(name=named), made.subplots())
        style.save(made, paths.figures, "ranking")
    write_text(paths.ranking_page, page(ranked, sentences))
    return {"sentences": sentences, "table": str(paths.table("ranking")), "page": str(paths.ranking_page)}


def findings(ranked: pl.DataFrame) -> list[str]:
    """Return the ranking in sentences."""
    sentences = []
    for where, rows in _subsets(ranked, "log_loss"):
        single, double = (rows.filter(pl.col("metrics") == n) for n in (1, 2))
        optical, trivial = (single.filter(pl.col("trivial") == known).row(0, named=True) for known in (False, True))
        best = double.row(0, named=True)
        source, defocus = (_row(rows, n) for n in ("delta_epsilon + sigma", "defocus_difference_angstrom"))
        sentences.append(
            f"Log loss, {where}, neither condition seen by the fit: best single metric {_symbol(optical['predictor'])} {_figure(optical)}; "
            f"best of those that know no optics {_symbol(trivial['predictor'])} {_figure(trivial)}; |Δdefocus| {_figure(defocus)}; "
            f"σ with Δε {_figure(source)}; best two {_symbol(best['predictor'])} {_figure(best)}."
        )
    return sentences


def page(ranked: pl.DataFrame, sentences: list[str]) -> str:
    """Return the ranking as a Markdown page."""
    lines = ["# Which shift metric predicts the loss?", "", *[f"- {s}" for s in sentences], "", *_METHOD]
    for target, title in (("log_loss", "logarithm of the loss"), ("loss", "loss itself")):
        for where, rows in _subsets(ranked, target):
            single, double = (rows.filter(c) for c in (pl.col("metrics") < 2, pl.col("metrics") == 2))
            lines += ["", f"## The {title}, {where} ({rows['n_pairs'][0]} pairs)", ""]
            lines += ["| metric | train | test | both | in sample | rank correlation |", "|---|---|---|---|---|---|"]
            lines += [_line(row) for row in single.to_dicts()]
            lines += ["", "Two metrics, the best:", ""]
            lines += ["| metrics | train | test | both | in sample |", "|---|---|---|---|---|"]
            lines += [_line(row) for row in double.to_dicts()]
            source = _row(rows, "delta_epsilon + sigma")
            if source is not None:
                r2 = ", ".join(f"{kind} {source[f'r2_{kind}']:.2f}" for kind in ("train", "test", "both"))
                lines += ["", f"For comparison, σ with Δε: {r2}."]
    return "\n".join(lines).replace("-0.", "−0.") + "\n"


def _subsets(ranked: pl.DataFrame, target: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the words for each subset of the pairs and its rows for a target, best first."""
    for pairs, where in _SUBSETS.items():
        rows = ranked.filter((pl.col("pairs") == pairs) & (pl.col("target") == target))
        if len(rows):
            yield where, rows.sort("r2_both", descending=True)


def _line(row: dict[str, Any]) -> str:
    cells = [_symbol(row["predictor"]) + (" (knows no optics)" if row["trivial"] and row["metrics"] else "")]
    cells += [_interval(row, kind) for kind in ("train", "test", "both")]
    cells.append(f"{row['r2_in_sample']:.2f}")
    if row["metrics"] < 2:
        cells.append("" if row["spearman"] is None else f"{row['spearman']:.2f}")
    return "| " + " | ".join(cells) + " |"


def _symbol(predictor: str) -> str:
    if predictor == "mean":
        return "mean of all"
    return " and ".join(column(name).symbol for name in predictor.split(" + "))


def _row(rows: pl.DataFrame, predictor: str) -> dict[str, Any] | None:
    return next(iter(rows.filter(pl.col("predictor") == predictor).to_dicts()), None)


def _interval(row: dict[str, Any], kind: str) -> str:
    value, low, high = (row[f"r2_{kind}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")


def _figure(row: dict[str, Any] | None) -> str:
    return "not measured" if row is None else f"R² {_interval(row, 'both')}"
