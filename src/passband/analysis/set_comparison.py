"""Which training set does best: mean and worst loss over the test conditions, by kind and size of the set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from passband.analysis.resampling import Statistic, with_percentiles
from passband.base.identity import seed_from

_RESAMPLES = 2000
# The share of test conditions that counts as the worst, beside the single worst.
_TAIL = 0.1


def set_kinds(scores: pl.DataFrame) -> pl.DataFrame:
    """Return scores with the kind, size and draw of each training set, from its name KIND-SIZE-DRAW."""
    parts = pl.col("train_condition").str.split("-").list
    return scores.with_columns(kind=parts.get(0), size=parts.get(1).cast(pl.Int64), draw=parts.get(2).cast(pl.Int64))


def set_results(scores: pl.DataFrame) -> pl.DataFrame:
    """Return a row per kind and size: loss and Dice, mean and worst over test conditions, with 95 % intervals.

    Columns: kind, size, n_sets, n_networks; mean_loss (over tests, then networks), worst_loss (of each network's worst test
    condition), tail_loss (mean of the worst tenth), mean_dice, worst_dice; each with _low and _high from drawing sets and test
    conditions again with replacement, seeds within their set.

    Args:
        scores: a row per training set, test condition and seed.
    """
    rows = []
    named = set_kinds(scores)
    for (kind, size), own in named.group_by("kind", "size", maintain_order=True):
        loss, dice = _cube(own, "loss"), _cube(own, "dice")
        rng = np.random.default_rng(seed_from("sets", str(kind), str(size)))
        drawn = [_figures(*_again(loss, dice, rng)) for _ in range(_RESAMPLES)]
        networks = int(np.isfinite(loss[..., 0]).sum())
        row: dict[str, Any] = {"kind": kind, "size": size, "n_sets": len(loss), "n_networks": networks}
        for name, value in _figures(loss, dice).items():
            low, high = np.nanpercentile([d[name] for d in drawn], [2.5, 97.5])
            row |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
        rows.append(row)
    return pl.DataFrame(rows)


def _cube(own: pl.DataFrame, score: str) -> np.ndarray:
    """Return a score as [sets, seeds, tests], NaN where missing."""
    keys = ("train_condition", "seed", "test_condition")
    names = [own[key].unique(maintain_order=True) for key in keys]
    cube = np.full([len(n) for n in names], np.nan)
    places = [
        own[key].replace_strict(n, range(len(n)), return_dtype=pl.Int64).to_numpy().astype(int)
        for key, n in zip(keys, names, strict=True)
    ]
    cube[tuple(places)] = own[score].to_numpy()
    return cube


def _again(loss: np.ndarray, dice: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sets, tests = (rng.integers(n, size=n) for n in (loss.shape[0], loss.shape[2]))
    seeds = rng.integers(loss.shape[1], size=loss.shape[:2])
    taken = np.take_along_axis(np.stack([loss, dice]), seeds[None, :, :, None], 2)
    return tuple(taken[:, sets][..., tests])


def _figures(loss: np.ndarray, dice: np.ndarray) -> dict[str, float]:
    tail = max(round(_TAIL * loss.shape[2]), 1)
    return {
        "mean_loss": float(np.nanmean(loss)),
        "worst_loss": float(np.nanmean(loss.max(2))),
        "tail_loss": float(np.nanmean(np.sort(loss, 2)[..., -tail:])),
        "mean_dice": float(np.nanmean(dice)),
        "worst_dice": float(np.nanmean(dice.min(2))),
    }


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
            cubes.append(_cube(own.sort("draw", "seed", "test_condition"), "loss").mean(1))
        draws = min(len(c) for c in cubes)
        # [sizes, draws, tests]
        sides.append(np.stack([c[:draws] for c in cubes]))
    tests, paired = sides[0].shape[2], {first, second} == {"curriculum", "guided"}
    worst = 1 if score == "worst" else max(round(_TAIL * tests), 1)
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
    for _ in range(_RESAMPLES):
        drawn = [rng.choice(w, size=len(w)) for w in whole]
        if paired:
            drawn[1] = drawn[0] % len(whole[1])
        values.append(ratio(drawn, rng.choice(every, size=tests) if score == "mean" else every))
    fewest = min(len(w) for w in whole)
    wider = np.sqrt(fewest / (fewest - 1)) if fewest > 1 else np.nan
    return with_percentiles(float(np.exp(value)), list(np.exp(value + wider * (np.array(values) - value))))


def compare_sets(scores: pl.DataFrame) -> dict[str, Any]:
    """Return the findings of a study of training sets: `sets`, a row per kind and size, and `sentences`.

    Args:
        scores: a row per training set, test condition and seed.
    """
    table = set_results(scores)
    sentences = []
    for row in table.to_dicts():
        conditions = "condition" if row["size"] == 1 else "conditions"
        sentences.append(
            f"{row['kind']}, {row['size']} {conditions} ({row['n_sets']} sets, {row['n_networks']} networks): "
            f"mean loss {with_interval(row, 'mean_loss')}, worst condition {with_interval(row, 'worst_loss')}; "
            f"Dice {with_interval(row, 'mean_dice')}, worst {with_interval(row, 'worst_dice')}."
        )
    return {"sets": table.to_dicts(), "sentences": sentences}


def with_interval(row: dict[str, Any], name: str) -> str:
    """Return a figure of a row of `set_results` with its interval, to read."""
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
