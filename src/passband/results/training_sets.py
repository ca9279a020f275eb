"""Experiment 3 and check 3: many training conditions, and how to choose them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from passband.analysis.training_sets import set_ratio, set_results
from passband.report import bands, style
from passband.results.outcome import Claim, Experiment, Outcome, StudyTables, Verdict, table

_STUDY = "training_sets"
_WORDS = {"uniform": "drawn uniformly", "guided": "CTF-guided", "curriculum": "CTF-guided, high ε first"}


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return mean and worst loss by kind and size of the training set, and the ratios between kinds."""
    found = Outcome()
    scores = studies[_STUDY].scores
    results = set_results(scores)
    sizes = sorted({row["size"] for row in results.to_dicts() if row["kind"] == "guided"})
    largest, curriculum = sizes[-1], sorted({r["size"] for r in results.to_dicts() if r["kind"] == "curriculum"})
    guided = [set_ratio(scores, ("guided", size), ("uniform", size)) for size in sizes]
    several = [set_ratio(scores, ("uniform", size), ("uniform", 1)) for size in sizes]
    late = [set_ratio(scores, ("curriculum", size), ("guided", size)) for size in curriculum]
    one = results.filter((pl.col("kind") == "uniform") & (pl.col("size") == 1)).to_dicts()[0]
    best = results.sort("mean_loss").to_dicts()[0]
    calm = results.sort("worst_loss").to_dicts()[0]
    found.text.append(
        f"Trained on one condition, networks lose {_of(one, 'mean_loss')} on conditions they have not met, and {_of(one, 'worst_loss')} on the "
        f"worst of them. The lowest mean loss have {best['size']} conditions {_WORDS[best['kind']]} ({_of(best, 'mean_loss')}), the lowest worst "
        f"loss {calm['size']} conditions {_WORDS[calm['kind']]} ({_of(calm, 'worst_loss')}). Choosing them by their transfer "
        f"multiplies the mean loss by {_ratios(guided, 'mean')} and the worst by {_ratios(guided, 'worst')} at "
        f"{', '.join(map(str, sizes))} conditions."
    )
    found.claims += [
        Claim(
            "Training on many conditions is better on average than on one (b > a)",
            f"mean loss, {largest} conditions over one: {_ratio(several[-1], 'mean')}; worst: {_ratio(several[-1], 'worst')}",
            _below(several[-1:], "mean"),
        ),
        Claim(
            "Choosing them by their transfer is at least as good as choosing uniformly (c ≥ b), mean over conditions",
            f"mean loss, guided over uniform at {_listed(guided, 'mean')}",
            _not_above(guided, "mean"),
        ),
        Claim(
            "Choosing them by their transfer lowers the loss on the worst condition (check 3, five budgets)",
            f"worst loss, guided over uniform at {_listed(guided, 'worst')}",
            _below(guided, "worst"),
        ),
        Claim(
            "ours: beginning with the conditions of high ε helps",
            f"mean loss, curriculum over guided at {_listed(late, 'mean')}; worst {_listed(late, 'worst')}",
            _below(late, "mean"),
        ),
    ]
    enough = next(
        row["size"]
        for row in results.filter(pl.col("kind") == "uniform").sort("size").to_dicts()
        if row["mean_loss"] <= 1.1 * results.filter(pl.col("kind") == "uniform")["mean_loss"].min()
    )
    found.text.append(
        f"How many are enough: with {enough} conditions drawn uniformly the mean loss is within 10 % of the best of any size. All networks "
        "saw the same number of images in the same number of steps, so that a larger set shows each condition less often."
    )
    rows = [
        [
            _WORDS[r["kind"]],
            str(r["size"]),
            str(r["n_sets"]),
            *[_of(r, c) for c in ("mean_loss", "tail_loss", "worst_loss", "mean_dice", "worst_dice")],
        ]
        for r in results.to_dicts()
    ]
    head = ["set", "conditions", "sets", "mean loss", "worst tenth", "worst", "mean Dice", "worst Dice"]
    found.text.append("With the central 95 % when sets and test conditions are drawn again.\n\n" + table(head, rows))
    with style.figure(9.6, 3.8) as made:
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
            bands.draw(drawn, ax, "training conditions", f"loss, {title}", log=(True, True))
        style.save(made, folder, "training_sets", ("png",))
    found.figures.append(("training_sets", "Bands: central 95 % when sets and test conditions are drawn again."))
    return found


def _of(row: dict[str, Any], name: str) -> str:
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"


def _ratio(difference: dict[str, Any], name: str) -> str:
    figure = difference[name]
    return f"× {figure['ratio']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def _ratios(differences: list[dict[str, Any]], name: str) -> str:
    return ", ".join(f"{d[name]['ratio']:.2f}" for d in differences)


def _listed(differences: list[dict[str, Any]], name: str) -> str:
    return ", ".join(f"{d['size']}: {_ratio(d, name)}" for d in differences)


def _below(differences: list[dict[str, Any]], name: str) -> Verdict:
    """Agrees if most are wholly below 1 and none is above, differs if any is wholly above 1."""
    if any(d[name]["low"] > 1 for d in differences):
        return "differs"
    return "agrees" if 2 * sum(d[name]["high"] < 1 for d in differences) > len(differences) else "cannot tell"


def _not_above(differences: list[dict[str, Any]], name: str) -> Verdict:
    """Agrees if at no size it can be more than a tenth worse, differs if at some it is worse."""
    if any(d[name]["low"] > 1 for d in differences):
        return "differs"
    return "agrees" if all(d[name]["high"] < 1.1 for d in differences) else "cannot tell"


EXPERIMENT = Experiment(
    "training_sets",
    "What to train on",
    "A session may meet any of a range of conditions. Is a network better that was trained on many of them rather than on one, how many are "
    "enough, and is it worth choosing them by their contrast transfer?",
    (_STUDY,),
    evaluate,
)
