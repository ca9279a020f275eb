"""The page "What predicts the loss elsewhere", from `predictor.judge`."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from passband.files.tables import read_table, write_table
from replication.predictor import Judged
from replication.resampling import Statistic

#: What was to be reached, R² of ln loss and of the loss over that of networks trained there, by test: three numbers, then any model.
AIMS = {
    "corrected, 64 final conditions": (0.85, 0.92, 0.80),
    "one dose, 64 final conditions": (0.75, 0.85, 0.80),
    "all vary, four folds": (0.75, 0.85, 0.80),
    "another family, neither seen": (None, 0.75, None),
}


def save(tables: Path, rows: Sequence[Judged]) -> None:
    """Write the figures beside the tables that they follow from."""
    content = [
        {"test": r.test, "target": r.target, "rule": r.rule, "numbers": r.numbers, "r2": r.r2.value, "low": r.r2.low,
         "high": r.r2.high, "rank": r.rank}
        for r in rows
    ]  # fmt: skip
    write_table(tables / "predictor" / "judged.parquet", pl.DataFrame(content))


def text(tables: Path) -> str:
    """Return the table of all rules on all tests, in Markdown."""
    rows = read_table(tables / "predictor" / "judged.parquet")
    lines = ["| test | target | rule | numbers | R² | rank correlation |", "|---|---|---|---|---|---|"]
    for row in rows.iter_rows(named=True):
        r2 = Statistic(row["r2"], row["low"], row["high"])
        shown = str(r2) if r2.is_known else ("–" if r2.value != r2.value else f"{r2.value:.2f}")
        rank = "–" if row["rank"] != row["rank"] else f"{row['rank']:.2f}".replace("-", "−")
        lines.append(f"| {row['test']} | {row['target']} | {row['rule']} | {row['numbers']} | {shown} | {rank} |")
    return "\n".join(lines)
