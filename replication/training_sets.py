"""Experiment 3 and check 3: many training conditions, and how to choose them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.resampling import Statistic
from passband.analysis.set_comparison import set_kinds, set_ratio, set_results, with_interval
from replication.figures import draw_bands
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table

_STUDY = "training_sets"
_WORDS = {
    "uniform": "drawn uniformly",
    "even": "drawn evenly (Sobol)",
    "guided": "CTF-guided",
    "curriculum": "CTF-guided, high ε first",
}


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return mean and worst loss by kind and size of the training set, and the ratios between kinds."""
    outcome = Outcome()
    scores = studies[_STUDY].scores
    results = set_results(scores)
    sizes = {kind: sorted(results.filter(pl.col("kind") == kind)["size"].to_list()) for kind in _WORDS}

    def ratios(first: str, second: str) -> dict[str, Statistic]:
        common = [(s, s) for s in sizes[first] if s in sizes[second]]
        return {score: set_ratio(scores, first, second, common, score) for score in ("mean", "tail", "worst")}

    guided, even, late = ratios("guided", "uniform"), ratios("guided", "even"), ratios("curriculum", "guided")
    most = sizes["uniform"][-1]
    several = {s: set_ratio(scores, "uniform", "uniform", [(most, 1)], s) for s in ("mean", "tail", "worst")}
    each = [
        set_ratio(scores, "guided", "uniform", [(s, s)], "worst").value
        for s in sizes["guided"]
        if s in sizes["uniform"]
    ]
    one = results.filter((pl.col("kind") == "uniform") & (pl.col("size") == 1)).to_dicts()[0]
    many = results.filter((pl.col("kind") == "uniform") & (pl.col("size") == most)).to_dicts()[0]
    outcome.text.append(
        f"Trained on one condition, networks have a mean loss of {with_interval(one, 'mean_loss')} on unseen conditions, and {with_interval(one, 'worst_loss')} on the worst of them; trained on {most} "
        f"drawn uniformly, {with_interval(many, 'mean_loss')} and {with_interval(many, 'worst_loss')}. Choosing the conditions by their transfer multiplies the mean loss by {guided['mean']}, over all sizes "
        f"together, and that of the worst condition by {guided['worst']}; against draws that cover the range evenly without knowledge of the optics the factors are {even['mean']} and {even['worst']}."
    )
    outcome.claims += [
        Claim(
            "Training on many conditions is better on average than on one (b > a)",
            f"{most} conditions over one: mean loss × {several['mean']}, worst condition × {several['worst']}",
            judged(several["mean"], below=1.0),
        ),
        Claim(
            "Choosing them by their transfer is at least as good on average as choosing uniformly (c ≥ b)",
            f"guided over uniform, sizes {', '.join(map(str, sizes['guided']))} together: mean loss × {guided['mean']}",
            judged(guided["mean"], below=1.05),
        ),
        Claim(
            "Choosing them by their transfer gives better worst-case performance than random sampling (check 3)",
            f"guided over uniform: worst tenth × {guided['tail']}, worst condition × {guided['worst']}; the latter at each size "
            f"{', '.join(f'{v:.2f}' for v in each)}",
            judged(guided["tail"], below=1.0),
        ),
        Claim(
            "ours: what helps is the transfer, not that a chosen set covers the range evenly",
            f"guided over even draws: mean × {even['mean']}, worst tenth × {even['tail']}",
            judged(even["tail"], below=1.0),
        ),
        Claim(
            "ours: it helps to begin with, and so see more of, the conditions of high ε",
            f"the same sets in that order over mixed: mean × {late['mean']}, worst tenth × {late['tail']}",
            judged(late["mean"], below=1.0),
        ),
    ]
    served = (
        set_kinds(studies[_STUDY].shift)
        .group_by("kind", "size", "train_condition")
        .agg(pl.col("sigma_best").min())
        .group_by("kind", "size")
        .agg(pl.col("sigma_best").mean())
    )
    worst = {
        kind: float(np.mean(served.filter(pl.col("kind") == kind, pl.col("size") > 1)["sigma_best"].to_numpy()))
        for kind in ("guided", "uniform")
    }
    outcome.text.append(
        f"The choice does what it is meant to do: the test condition that is covered worst has σ(best member, test) = {worst['guided']:.2f} with guided sets and {worst['uniform']:.2f} with uniform "
        "ones, mean over sizes. Whether that lowers the loss is what the table says."
    )
    enough = next(
        row["size"]
        for row in results.filter(pl.col("kind") == "uniform").sort("size").to_dicts()
        if row["mean_loss"] <= 1.1 * results.filter(pl.col("kind") == "uniform")["mean_loss"].min()
    )
    outcome.text.append(
        f"How many are enough: with {enough} conditions drawn uniformly the mean loss is within 10 % of the best of any size. All networks "
        "saw the same number of images in the same number of steps, so that a larger set shows each condition less often. Which size is best was read off "
        "afterwards, and the guided sets of one draw share conditions between sizes."
    )
    rows = [
        [
            _WORDS[r["kind"]],
            str(r["size"]),
            str(r["n_sets"]),
            *[with_interval(r, c) for c in ("mean_loss", "tail_loss", "worst_loss", "mean_dice", "worst_dice")],
        ]
        for r in results.to_dicts()
    ]
    head = ["set", "conditions", "sets", "mean loss", "worst tenth", "worst", "mean Dice", "worst Dice"]
    outcome.text.append("With the central 95 % when sets and test conditions are drawn again.\n\n" + table(head, rows))
    caption = "Bands: central 95 % when sets and test conditions are drawn again."
    with outcome.figure(folder, "training_sets", caption, 9.6, 3.8) as made:
        for ax, column, title in zip(
            made.subplots(1, 2),
            ("mean_loss", "worst_loss"),
            ("mean over test conditions", "worst test condition"),
            strict=True,
        ):
            drawn = results.select(
                group=pl.col("kind").replace_strict(_WORDS),
                x="size",
                y=column,
                low=f"{column}_low",
                high=f"{column}_high",
            )
            draw_bands(drawn, ax, "training conditions", f"loss, {title}", log=(True, True))
    return outcome


EXPERIMENT = Experiment(
    "training_sets",
    "What to train on",
    "Imaging conditions vary within a range. Is a network that was trained on many of them better than one trained on one, how many are "
    "enough, and does it help to choose them by their contrast transfer?",
    (_STUDY,),
    evaluate,
)
