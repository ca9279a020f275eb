"""Which training set does best: mean and worst loss over the test conditions, by kind and size of the set."""

from typing import Any

import numpy as np
import polars as pl

from passband.analysis.pairs import dense
from passband.base.identity import seed_from
from passband.learning import SEGMENTATION, Headline

#: How often sets and test conditions are drawn again.
RESAMPLES = 2000
#: The share of test conditions that counts as the worst, beside the single worst.
TAIL = 0.1


def set_kinds(scores: pl.DataFrame) -> pl.DataFrame:
    """Return scores with the kind, size and draw of each training set, from its name KIND-SIZE-DRAW."""
    parts = pl.col("train_condition").str.extract_groups(r"^(?<kind>.+)-(?<size>\d+)-(?<draw>\d+)$").struct
    return scores.with_columns(
        kind=parts.field("kind"), size=parts.field("size").cast(pl.Int64), draw=parts.field("draw").cast(pl.Int64)
    )


def set_results(scores: pl.DataFrame, headline: Headline = SEGMENTATION.headline) -> pl.DataFrame:
    """Return a row per kind and size: loss and the task's headline, mean and worst over test conditions, with 95 % intervals.

    Columns: kind, size, n_sets, n_networks; mean_loss (over tests, then networks), worst_loss (of each network's worst test
    condition), tail_loss (mean of the worst tenth), mean_dice, worst_dice (or of another headline); each with _low and _high from drawing sets and test
    conditions again with replacement, seeds within their set.
    """
    rows = []
    named = set_kinds(scores)
    for (kind, size), own in named.group_by("kind", "size", maintain_order=True):
        both = cube(own, "loss"), cube(own, headline.column)
        rng = np.random.default_rng(seed_from("sets", str(kind), str(size)))
        drawn = [_figures(*_again(*both, rng), headline) for _ in range(RESAMPLES)]
        networks = int(np.isfinite(both[0][..., 0]).sum())
        row: dict[str, Any] = {"kind": kind, "size": size, "n_sets": len(both[0]), "n_networks": networks}
        for name, value in _figures(*both, headline).items():
            low, high = np.nanpercentile([d[name] for d in drawn], [2.5, 97.5])
            row |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
        rows.append(row)
    return pl.DataFrame(rows)


def cube(own: pl.DataFrame, score: str) -> np.ndarray:
    """Return a score as [sets, seeds, tests], NaN where missing."""
    keys = ("train_condition", "seed", "test_condition")
    return dense(own, {key: own[key].unique(maintain_order=True) for key in keys}, score)


def _again(loss: np.ndarray, score: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    sets, tests = (rng.integers(n, size=n) for n in (loss.shape[0], loss.shape[2]))
    seeds = rng.integers(loss.shape[1], size=loss.shape[:2])
    taken = np.take_along_axis(np.stack([loss, score]), seeds[None, :, :, None], 2)
    return tuple(taken[:, sets][..., tests])


def _figures(loss: np.ndarray, score: np.ndarray, headline: Headline) -> dict[str, float]:
    worst = score.min(2) if headline.higher_is_better else score.max(2)
    tail = max(round(TAIL * loss.shape[2]), 1)
    return {
        "mean_loss": float(np.nanmean(loss)),
        "worst_loss": float(np.nanmean(loss.max(2))),
        "tail_loss": float(np.nanmean(np.sort(loss, 2)[..., -tail:])),
        f"mean_{headline.column}": float(np.nanmean(score)),
        f"worst_{headline.column}": float(np.nanmean(worst)),
    }


def compare_sets(scores: pl.DataFrame, headline: Headline = SEGMENTATION.headline) -> dict[str, Any]:
    """Return the findings of a study of training sets: `sets`, a row per kind and size, and `sentences`."""
    rows, sentences = set_results(scores, headline).to_dicts(), []
    mean, worst = f"mean_{headline.column}", f"worst_{headline.column}"
    for row in rows:
        conditions = "condition" if row["size"] == 1 else "conditions"
        sentences.append(
            f"{row['kind']}, {row['size']} {conditions} ({row['n_sets']} sets, {row['n_networks']} networks): "
            f"mean loss {with_interval(row, 'mean_loss')}, worst condition {with_interval(row, 'worst_loss')}; "
            f"{headline} {with_interval(row, mean)}, worst {with_interval(row, worst)}."
        )
    return {"sets": rows, "sentences": sentences}


def with_interval(row: dict[str, Any], name: str) -> str:
    """Return a figure of a row of `set_results` with its interval, to read."""
    return f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
