"""Experiment 3 and check 3: many training conditions, and how to choose them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis import set_comparison
from passband.analysis.set_comparison import TAIL, cube, set_kinds, set_results, with_interval
from passband.base.identity import seed_from
from replication.figures import draw_bands
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.resampling import Statistic, with_percentiles

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


def set_ratio(
    scores: pl.DataFrame, first: str, second: str, sizes: Sequence[tuple[int, int]], score: str = "mean"
) -> Statistic:
    """Return how many times the loss of one kind of set is that of another, over some sizes together, with its 95 %.

    The ratio is the geometric mean over sizes. Draws are resampled whole, with all their sizes, for sets of one draw are not
    independent of each other; where both kinds hold the same conditions in each draw, together. Test conditions are drawn again for
    both kinds together for the mean; for the worst they stay, for a drawing that lacks the worst says nothing of it. With few
    draws the interval is widened by √(n / (n − 1)), the draws' own bias.

    Args:
        scores: a row per training set, test condition and seed.
        first: kind of the numerator; "curriculum" is paired with "guided".
        second: kind of the denominator.
        sizes: of first and second; of none, the ratio is NaN.
        score: mean, tail (the worst tenth) or worst, over test conditions.
    """
    if not sizes:
        return with_percentiles(float("nan"), [])
    named = set_kinds(scores)
    sides = []
    for kind, own_sizes in ((first, [a for a, _ in sizes]), (second, [b for _, b in sizes])):
        cubes = []
        for size in own_sizes:
            own = named.filter(pl.col("kind") == kind, pl.col("size") == size)
            cubes.append(cube(own.sort("draw", "seed", "test_condition"), "loss").mean(1))
        draws = min(len(c) for c in cubes)
        # [sizes, draws, tests]
        sides.append(np.stack([c[:draws] for c in cubes]))
    tests, paired = sides[0].shape[2], {first, second} == {"curriculum", "guided"}
    worst = 1 if score == "worst" else max(round(TAIL * tests), 1)
    rng = np.random.default_rng(seed_from("ratio", first, second, score))

    def ratio(drawn: Sequence[np.ndarray], chosen: np.ndarray) -> float:
        means = []
        for side, d in zip(sides, drawn, strict=True):
            taken = side[:, d][..., chosen]
            of_each = taken.mean(2) if score == "mean" else np.sort(taken, 2)[..., -worst:].mean(2)
            means.append(np.log(np.nanmean(of_each, 1)))
        return float((means[0] - means[1]).mean())

    whole = [np.arange(side.shape[1]) for side in sides]
    every = np.arange(tests)
    value = ratio(whole, every)
    values = []
    for _ in range(set_comparison.RESAMPLES):
        drawn = [rng.choice(w, size=len(w)) for w in whole]
        if paired:
            drawn[1] = drawn[0] % len(whole[1])
        values.append(ratio(drawn, rng.choice(every, size=tests) if score == "mean" else every))
    fewest = min(len(w) for w in whole)
    wider = np.sqrt(fewest / (fewest - 1)) if fewest > 1 else np.nan
    return with_percentiles(float(np.exp(value)), list(np.exp(value + wider * (np.array(values) - value))))


EXPERIMENT = Experiment(
    "training_sets",
    "What to train on",
    "Imaging conditions vary within a range. Is a network that was trained on many of them better than one trained on one, how many are "
    "enough, and does it help to choose them by their contrast transfer?",
    (_STUDY,),
    evaluate,
)
