"""Rank the shift metrics of a finished study: from its tables to a table, a figure and a page."""

from pathlib import Path
from typing import Any

import polars as pl

from passband import analysis
from passband.base.errors import BadInputError
from passband.figures import metric_ranking as ranking_figure
from passband.figures import style
from passband.files.atomic import write_text
from passband.files.tables import write_table
from passband.metrics.columns import column
from passband.studies.paths import StudyPaths

_SUBSETS = {
    "all": "all pairs",
    "without_low_epsilon": f"without conditions of ε < {analysis.LOW_EPSILON:g}",
    "similar_dose": "doses alike to a factor of 1.5",
}


def rank_folder(folder: Path) -> dict[str, Any]:
    """Write ranking.parquet, ranking.md and figures/ranking.{png,svg} into a study folder; return its sentences and paths.

    Raises:
        BadInputError: if a table that this needs is missing.
    """
    paths = StudyPaths(folder)
    tables = {}
    for name in ("scores", "shift"):
        if not paths.table(name).is_file():
            raise BadInputError(
                f"{paths.table(name)}: is missing; the study has to be finished first: passband study run {folder}"
            )
        tables[name] = pl.read_parquet(paths.table(name))
    if "phase_rms" not in tables["shift"].columns:
        raise BadInputError(
            f"{paths.table('shift')}: lacks the metrics of the registry; make it again with: passband study report {folder}"
        )
    ranked = analysis.rank(tables["scores"], tables["shift"])
    write_table(paths.table("ranking"), ranked)
    sentences = findings(ranked)
    with style.figure(8.4, 9.0) as made:
        ranking_figure.draw(_named(best_singles(ranked, "log_loss")), made.subplots())
        style.save(made, paths.figures, "ranking")
    write_text(paths.ranking_page, page(ranked, sentences))
    return {"sentences": sentences, "table": str(paths.table("ranking")), "page": str(paths.ranking_page)}


def best_singles(ranked: pl.DataFrame, target: str) -> pl.DataFrame:
    """Return the rows of single metrics over all pairs for a target, best first by R² with both conditions held out."""
    rows = ranked.filter((pl.col("pairs") == "all") & (pl.col("target") == target) & (pl.col("metrics") == 1))
    return rows.sort("r2_both", descending=True)


def findings(ranked: pl.DataFrame) -> list[str]:
    """Return the ranking in sentences."""
    sentences = []
    for pairs, where in _SUBSETS.items():
        rows = ranked.filter((pl.col("pairs") == pairs) & (pl.col("target") == "log_loss"))
        if not len(rows):
            continue
        single = rows.filter(pl.col("metrics") == 1).sort("r2_both", descending=True)
        optical = single.filter(~pl.col("trivial")).to_dicts()[0]
        trivial = single.filter(pl.col("trivial")).to_dicts()[0]
        double = rows.filter(pl.col("metrics") == 2).sort("r2_both", descending=True).to_dicts()[0]
        source = _row(rows, "delta_epsilon + sigma")
        defocus = _row(rows, "defocus_difference_angstrom")
        sentences.append(
            f"Log loss, {where}, neither condition seen by the fit: best single metric {_symbol(optical['predictor'])} {_figure(optical)}; "
            f"best of those that know no optics {_symbol(trivial['predictor'])} {_figure(trivial)}; |Δdefocus| {_figure(defocus)}; "
            f"σ with Δε {_figure(source)}; best two {_symbol(double['predictor'])} {_figure(double)}."
        )
    return sentences


def page(ranked: pl.DataFrame, sentences: list[str]) -> str:
    """Return the ranking as a Markdown page."""
    lines = ["# Which shift metric predicts the loss?", "", *[f"- {s}" for s in sentences], ""]
    lines += [
        "Made by `passband study rank` of this folder, which reads only the tables beside this page.",
        "",
    ]
    lines += ["![Held-out R² of each metric](figures/ranking.svg)", ""]
    lines += [
        "R² of a quadratic fit (a metric, its square; for two also their product) to the loss, mean over seeds, of the pairs",
        "off the diagonal. *train*: each training condition predicted by a fit to all others; *test*: the same for test",
        "conditions; *both*: each pair predicted by a fit to the pairs that share neither of its conditions. In brackets the",
        f"central 95 % when conditions are drawn again with replacement and all is fitted again ({analysis.RESAMPLES} times). Sorted by *both*.",
    ]
    for target, title in (("log_loss", "logarithm of the loss"), ("loss", "loss itself")):
        for pairs, where in _SUBSETS.items():
            rows = ranked.filter((pl.col("pairs") == pairs) & (pl.col("target") == target))
            if not len(rows):
                continue
            lines += ["", f"## The {title}, {where} ({rows['n_pairs'][0]} pairs)", ""]
            lines += ["| metric | train | test | both | in sample | rank correlation |", "|---|---|---|---|---|---|"]
            lines += [
                _line(row) for row in rows.filter(pl.col("metrics") < 2).sort("r2_both", descending=True).to_dicts()
            ]
            lines += [
                "",
                "Two metrics, the best:",
                "",
                "| metrics | train | test | both | in sample |",
                "|---|---|---|---|---|",
            ]
            double = rows.filter(pl.col("metrics") == 2).sort("r2_both", descending=True)
            lines += [_line(row) for row in double.to_dicts()]
            source = _row(rows, "delta_epsilon + sigma")
            if source is not None:
                lines += [
                    "",
                    f"For comparison, σ with Δε: train {source['r2_train']:.2f}, test {source['r2_test']:.2f}, both {source['r2_both']:.2f}.",
                ]
    return "\n".join(lines).replace("-0.", "−0.") + "\n"


def _line(row: dict[str, Any]) -> str:
    cells = [_symbol(row["predictor"]) + (" (knows no optics)" if row["trivial"] and row["metrics"] else "")]
    for kind in ("train", "test", "both"):
        low, high = row[f"r2_{kind}_low"], row[f"r2_{kind}_high"]
        cells.append(f"{row[f'r2_{kind}']:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]"))
    cells.append(f"{row['r2_in_sample']:.2f}")
    if row["metrics"] < 2:
        cells.append("" if row["spearman"] is None else f"{row['spearman']:.2f}")
    return "| " + " | ".join(cells) + " |"


def _named(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(name=pl.col("predictor").map_elements(_symbol, return_dtype=pl.String))


def _symbol(predictor: str) -> str:
    return (
        "mean of all" if predictor == "mean" else " and ".join(column(name).symbol for name in predictor.split(" + "))
    )


def _row(rows: pl.DataFrame, predictor: str) -> dict[str, Any] | None:
    found = rows.filter(pl.col("predictor") == predictor).to_dicts()
    return found[0] if found else None


def _figure(row: dict[str, Any] | None) -> str:
    if row is None:
        return "not measured"
    low, high = row["r2_both_low"], row["r2_both_high"]
    return f"R² {row['r2_both']:.2f}" + ("" if low is None else f" [{low:.2f}, {high:.2f}]")
