"""The tables of the page "What predicts the loss elsewhere", from `predictor.judge` and the answers of `external`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from passband.figures import style
from passband.files.atomic import write_text
from passband.files.tables import read_table, write_table
from replication.filled_page import fill_in, number
from replication.predictor import Judged
from replication.resampling import Statistic


def save(tables: Path, rows: Sequence[Judged]) -> None:
    """Write the figures beside the tables that they follow from."""
    content = [
        {"test": r.test, "target": r.target, "rule": r.rule, "numbers": r.numbers, "r2": r.r2.value, "low": r.r2.low,
         "high": r.r2.high, "rank": r.rank}
        for r in rows
    ]  # fmt: skip
    write_table(tables / "predictor" / "judged.parquet", pl.DataFrame(content))


def save_sets(tables: Path, answer: dict[str, Any]) -> None:
    """Write the figures of sets of training conditions."""
    write_text(tables / "predictor" / "sets.json", json.dumps(answer, indent=1) + "\n")


def draw(tables: Path, pairs: pl.DataFrame) -> None:
    """Draw measured against predicted losses, the table of `predictor.final_losses`, beside the page."""
    with style.figure(7.2, 3.7) as made:
        axes = made.subplots(1, 2, sharex=True, sharey=True)
        limits = float(pairs["loss"].min()) * 0.8, float(pairs["loss"].max()) * 1.2
        titles = {"sigma_delta_epsilon": "σ and Δε (the source)", "law": "law of textures"}
        for ax, (name, title) in zip(axes, titles.items(), strict=True):
            ax.scatter(pairs[name], pairs["loss"], s=3, alpha=0.25, linewidths=0, rasterized=True)
            ax.plot(limits, limits, color="black", linewidth=0.8)
            ax.set(
                xlabel="predicted loss",
                title=title,
                xlim=limits,
                ylim=limits,
                xscale="log",
                yscale="log",
                aspect="equal",
            )
        axes[0].set_ylabel("measured loss")
        style.save(made, tables.parent / "figures", "predictor_final", ("png",))


def write(page: Path) -> None:
    """Fill in the tables of a page from what lies in tables/predictor/ beside it."""
    folder = page.parent / "tables" / "predictor"
    parts = {"table": judged_table(folder), "sets": sets_text(folder), "external": external_table(folder)}
    fill_in(page, parts)


def judged_table(folder: Path) -> str:
    """Return the table of rules and tests, in Markdown."""
    rows = read_table(folder / "judged.parquet")
    lines = ["| test | target | rule | numbers | R² | rank correlation |", "|---|---|---|---|---|---|"]
    for row in rows.iter_rows(named=True):
        r2 = Statistic(row["r2"], row["low"], row["high"])
        shown = str(r2) if r2.is_known else number(row["r2"])
        places = [row["test"], row["target"], row["rule"], row["numbers"], shown, number(row["rank"])]
        if not (row["rule"].startswith("ceiling") and shown == "–"):
            lines.append(f"| {' | '.join(places)} |")
    return "\n".join(lines)


def sets_text(folder: Path) -> str:
    """Return what was found of sets of training conditions, in a paragraph."""
    answer = json.loads((folder / "sets.json").read_text(encoding="utf-8"))
    ratios = [f"{name} × {Statistic(*answer[name].values())}" for name in ("worst", "worst tenth", "mean")]
    covered = ", ".join(
        f"{part['all']:.2f} ({name}; of the network that fares worst {part['worst_network']:.2f})"
        for name, part in answer["interval"].items()
    )
    return (
        f"The 90 % interval of ln loss holds for {covered}.\n\nRank correlation of predicted and measured loss over all pairs of sets and tests {number(answer['rank'])}, over the sets' means "
        f"{number(answer['rank_of_sets'])}. Loss of the set predicted best of four uniform draws over the mean of the four: {', '.join(ratios)}."
    )


def external_table(folder: Path) -> str:
    """Return the table of agreement with losses that others measured, in Markdown."""
    lines = ["| table | rows | what | rank correlation with ln loss | R² of ln loss |", "|---|---|---|---|---|"]
    for path in sorted(folder.glob("external_*.json")):
        answer = json.loads(path.read_text(encoding="utf-8"))
        named = {
            "prediction": answer["prediction"],
            "reader alone": answer["reader"],
            "reproduction": answer["reproduction"],
            **answer["baselines"],
        }
        for name, values in named.items():
            if values is not None:
                shown = f"{number(values['rank'])} | {number(values['r2'])}"
                lines.append(f"| {answer['kind']} | {answer['rows']} | {name} | {shown} |")
    return "\n".join(lines)
