"""What a study asks, and its answer in one sentence: title and first line of its report."""

from typing import Any

import polars as pl

from passband.analysis.set_comparison import with_interval
from passband.figures.matrix import short_labels
from passband.figures.style import minus
from passband.studies.study import Study

# A pair generalises if its loss is at most this many times the in-domain loss; a network with less Dice has not learnt.
_NEAR, _LEARNT = 1.5, 0.5


def question(study: Study) -> str:
    """Return what a study asks."""
    if study.structures:
        return "Does a network trained on one family of specimens work on another?"
    if not study.trains_on_tests:
        return "Which set of training conditions makes the best network?"
    shared, _ = short_labels(study.conditions.labels())
    varied = " and ".join(name.split(" [")[0] for name in shared.split(" / ")) if shared else "condition"
    return f"Does a network trained at one {varied} work at another?"


def conclusion(study: Study, pairs: pl.DataFrame, findings: dict[str, Any]) -> str:
    """Return the answer of a study in a sentence.

    Args:
        study: what was asked.
        pairs: from `analysis.join_pairs`.
        findings: from `analysis.findings` or `analysis.compare_sets`.
    """
    if not study.trains_on_tests:
        best = min(findings["sets"], key=lambda row: row["mean_loss"])
        plural = "s" * (best["size"] != 1)
        return (
            f"{best['kind']}, {best['size']} condition{plural}: lowest mean loss, {with_interval(best, 'mean_loss')}."
        )
    same = pl.col("train_condition") == pl.col("test_condition")
    dice = pairs.filter(same)["dice"].median()
    if dice is None or dice < _LEARNT:
        reached = "unknown" if dice is None else f"{dice:.2f}"
        return f"Nothing to compare: under their own training condition the networks reach a median Dice of {reached}."
    ratios = pairs.filter(~same).group_by("train_label", "test_label", maintain_order=True)
    table = ratios.agg(ratio=pl.col("loss").mean() / pl.col("own_loss").mean()).drop_nulls()
    if table.is_empty():
        return "Nothing to compare: no network was tested under another condition than its own."
    share = float((table["ratio"] <= _NEAR).mean())
    hardest = (
        table.group_by("test_label", maintain_order=True).agg(pl.col("ratio").median()).sort("ratio").to_dicts()[-1]
    )
    answer = "Yes" if share >= 0.95 else "Mostly" if share >= 0.5 else "Seldom"
    return minus(
        f"{answer}: {share:.0%} of {len(table)} pairs of training and test condition stay within {_NEAR:g} times the in-domain loss; "
        f"the hardest test is {hardest['test_label']}, {hardest['ratio']:.1f} times in the median."
    )
