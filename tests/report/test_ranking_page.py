"""The committed ranking is what its tables say, and a folder that cannot be ranked is refused."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Square
from passband.base.errors import BadInputError
from passband.figures import metric_ranking as figure
from passband.figures import style
from passband.report.ranking_page import findings, page, rank_folder

COMMITTED = Path(__file__).parents[2] / "docs" / "results" / "tables" / "metrics"


def test_the_page_is_made_from_the_table():
    ranked = pl.read_parquet(COMMITTED / "ranking.parquet")
    assert page(ranked, findings(ranked)) == (COMMITTED / "ranking.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["dose_difference", "sigma", "phase_rms", "shared_information"])
def test_the_table_is_made_from_the_scores(name):
    square = Square(pl.read_parquet(COMMITTED / "scores.parquet"), pl.read_parquet(COMMITTED / "shift.parquet"))
    fit = Fit(square.pairs, (name,), "log_loss")
    ranked = pl.read_parquet(COMMITTED / "ranking.parquet")
    row = ranked.filter(
        (pl.col("predictor") == name) & (pl.col("pairs") == "all") & (pl.col("target") == "log_loss")
    ).row(0, named=True)
    assert row["r2_both"] == pytest.approx(fit.both(), abs=1e-6)
    assert row["r2_train"] == pytest.approx(fit.r2()["r2_train"], abs=1e-6)
    assert row["n_pairs"] == 64 * 63


def test_the_figure_names_every_metric(tmp_path):
    ranked = pl.read_parquet(COMMITTED / "ranking.parquet")
    rows = ranked.filter((pl.col("pairs") == "all") & (pl.col("target") == "log_loss") & (pl.col("metrics") == 1))
    rows = rows.with_columns(name=pl.col("predictor")).sort("r2_both", descending=True)
    with style.figure(6, 8) as made:
        ax = made.subplots()
        figure.draw(rows, ax)
        assert [t.get_text() for t in ax.get_yticklabels()] == rows["name"].to_list()


def test_a_folder_that_cannot_be_ranked(tmp_path):
    shutil.copy(COMMITTED / "study.yaml", tmp_path)
    with pytest.raises(BadInputError, match=r"scores.parquet: is missing; the study has to be finished first"):
        rank_folder(tmp_path)
    shutil.copy(COMMITTED / "scores.parquet", tmp_path)
    whole = pl.read_parquet(COMMITTED / "shift.parquet")
    whole.select("train_condition", "test_condition", "sigma").write_parquet(tmp_path / "shift.parquet")
    with pytest.raises(BadInputError, match="has no column epsilon_train; make the report again"):
        rank_folder(tmp_path)
    whole.drop("phase_rms_uniform").write_parquet(tmp_path / "shift.parquet")
    with pytest.raises(
        BadInputError, match="shift.parquet: lacks 1 metrics, such as phase_rms_uniform, .*; use the folder"
    ):
        rank_folder(tmp_path)
