"""Which metric predicts the loss? Every metric alone and in pairs, on conditions that the fit has not seen."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.analysis.shift_table import IMAGE_MEASURES
from passband.seeds import seed_from
from passband.shift import METRICS

#: Conditions that transfer less than this share of the band count as near zero.
LOW_EPSILON = 0.15
_RESAMPLES = 200
# Pairs of metrics that get an interval; the rest only a figure.
_BEST = 30
# Fewer pairs of conditions than this say nothing.
_FEWEST = 30
_RIDGE = 1e-9

Target = Literal["loss", "log_loss"]


@dataclass(frozen=True)
class Table:
    """A square table of pairs: which take part, what is to be predicted, and the candidates' values.

    Attributes:
        used: which pairs take part, shape [B, B].
        target: by name, mean over seeds, shape [B, B].
        features: by name, shape [B, B].
    """

    used: np.ndarray
    target: dict[str, np.ndarray]
    features: dict[str, np.ndarray]

    def without(self, dropped: np.ndarray) -> "Table":
        """Return the table without some conditions, in either role."""
        kept = ~dropped
        return Table(self.used & kept[:, None] & kept, self.target, self.features)


def rank(scores: pl.DataFrame, shift: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each predictor, subset of pairs and target, best first.

    Args:
        scores: a row per train condition, test condition and seed.
        shift: a row per train condition and test condition, from `shift_table`.

    Returns:
        predictor (metrics joined by ` + `), metrics (1 or 2), trivial, pairs (all, without_low_epsilon), target
        (loss, log_loss), n_pairs, spearman (of a single metric), r2_in_sample, r2_train (each train condition predicted
        by a fit to the others), r2_test (the same for test conditions), r2_both (each pair by a fit to pairs that share no
        condition with it), and low and high of the last three: central 95 % when conditions are drawn again with
        replacement and everything is fitted again. The form is quadratic: squares and products of the metrics too.
    """
    table, epsilon = tabulate(scores, shift)
    rows = []
    for pairs, part in (("all", table), ("without_low_epsilon", table.without(epsilon < LOW_EPSILON))):
        if pairs != "all" and (part.used.sum() == table.used.sum() or part.used.sum() < _FEWEST):
            continue
        for target in ("loss", "log_loss"):
            rows += _ranked(part, pairs, target)
    return pl.DataFrame(rows, infer_schema_length=None).sort(
        "pairs", "target", "r2_both", descending=[False, True, True]
    )


def tabulate(scores: pl.DataFrame, shift: pl.DataFrame) -> tuple[Table, np.ndarray]:
    """Return the square table of off-diagonal pairs and ε of each condition."""
    names = shift["train_condition"].unique(maintain_order=True).to_list()
    n = len(names)
    loss = scores.group_by("train_condition", "test_condition").agg(pl.col("loss").mean())
    joined = shift.join(loss, on=["train_condition", "test_condition"], how="left", maintain_order="left")
    measured = joined["loss"].to_numpy().astype(float).reshape(n, n)
    used = ~np.eye(n, dtype=bool) & np.isfinite(measured)
    features = {}
    for column in shift.columns:
        if column in ("train_condition", "test_condition"):
            continue
        values = shift[column].to_numpy().astype(float).reshape(n, n)
        # Undefined only where a condition transfers nothing: then nothing is shared.
        features[column] = np.nan_to_num(values, nan=0.0)
    for name, metric in METRICS.items():
        if metric.form == "condition" and f"{name}_train" in features:
            features[f"delta_{name}"] = features[f"{name}_test"] - features[f"{name}_train"]
    epsilon = shift["epsilon_train"].to_numpy().reshape(n, n)[:, 0]
    safe = np.where(used, measured, 1.0)
    return Table(used, {"loss": safe, "log_loss": np.log(safe)}, features), epsilon


def _ranked(table: Table, pairs: str, target: Target) -> list[dict[str, object]]:
    y = table.target[target]
    features = list(table.features)
    candidates: list[tuple[str, ...]] = [(), *((name,) for name in features), *itertools.combinations(features, 2)]
    rows: list[dict[str, object]] = []
    for names in candidates:
        values = table.features[names[0]][table.used] if len(names) == 1 else None
        rows.append(
            {
                "predictor": " + ".join(names) or "mean",
                "metrics": len(names),
                "trivial": all(_is_trivial(name) for name in names),
                "pairs": pairs,
                "target": target,
                "n_pairs": int(table.used.sum()),
                "spearman": None
                if values is None or not np.ptp(values)
                else float(spearmanr(values, y[table.used])[0]),
                **held_out_r2(table, names, target),
            }
        )
    best = sorted(range(len(rows)), key=lambda i: -float(str(rows[i]["r2_both"])))[:_BEST]
    for i, names in enumerate(candidates):
        wanted = len(names) < 2 or i in best
        low, high = _interval(table, names, target) if wanted else (None, None)
        for k, kind in enumerate(("train", "test", "both")):
            rows[i] |= {
                f"r2_{kind}_low": None if low is None else float(low[k]),
                f"r2_{kind}_high": None if high is None else float(high[k]),
            }
    return rows


def _is_trivial(name: str) -> bool:
    return name in (*IMAGE_MEASURES, "defocus_difference_angstrom", "coefficient_distance")


def held_out_r2(
    table: Table, names: Sequence[str], target: Target, times: np.ndarray | None = None
) -> dict[str, float]:
    """Return r2_in_sample, r2_train, r2_test and r2_both of a quadratic fit to some features.

    Least squares needs only sums over pairs, so every fit without some conditions is the fit to all minus their sums.

    Args:
        table: what to fit.
        names: of features; none is the mean.
        target: what to predict.
        times: how often each condition is drawn, shape [B]; once each if None.
    """
    drawn = np.ones(len(table.used)) if times is None else times
    weight = table.used * drawn[:, None] * drawn
    y = table.target[target]
    x = _design([table.features[name] for name in names], weight)
    outer = np.einsum("ij,ija,ijb->ijab", weight, x, x)
    moment = np.einsum("ij,ija,ij->ija", weight, x, y)
    rows, columns = (outer.sum(1), moment.sum(1)), (outer.sum(0), moment.sum(0))
    whole = outer.sum((0, 1)), moment.sum((0, 1))

    def r2(weights: np.ndarray) -> float:
        predicted = np.einsum("...a,ija->ij", weights, x) if weights.ndim == 1 else np.einsum("ija,ija->ij", weights, x)
        mean = (weight * y).sum() / weight.sum()
        return float(1 - (weight * (y - predicted) ** 2).sum() / (weight * (y - mean) ** 2).sum())

    own = [np.diagonal(part, axis1=0, axis2=1) for part in (outer, moment)]
    own = [np.moveaxis(part, -1, 0) for part in own]
    # Everything in which i or j takes part, in either role; what is subtracted twice is added again.
    cross = [
        part + part.swapaxes(0, 1) + single[:, None] + single[None]
        for part, single in zip((outer, moment), own, strict=True)
    ]
    touched = [(r + c)[:, None] + (r + c)[None] - x for r, c, x in zip(rows, columns, cross, strict=True)]
    n = len(y)
    shape = (n, n, x.shape[2])
    return {
        "r2_in_sample": r2(_solve(*whole)),
        "r2_train": r2(np.broadcast_to(_solve(whole[0] - rows[0], whole[1] - rows[1])[:, None], shape)),
        "r2_test": r2(np.broadcast_to(_solve(whole[0] - columns[0], whole[1] - columns[1])[None], shape)),
        "r2_both": r2(_solve(whole[0] - touched[0], whole[1] - touched[1])),
    }


def _design(features: list[np.ndarray], weight: np.ndarray) -> np.ndarray:
    """Return 1, the standardised features, their squares and products, shape [B, B, columns]."""
    columns = [np.ones(weight.shape)]
    standard = []
    for values in features:
        mean = (weight * values).sum() / weight.sum()
        spread = np.sqrt((weight * (values - mean) ** 2).sum() / weight.sum())
        standard.append((values - mean) / (spread or 1.0))
    columns += standard
    columns += [a * b for a, b in itertools.combinations_with_replacement(standard, 2)]
    return np.stack(columns, -1)


def _solve(outer: np.ndarray, moment: np.ndarray) -> np.ndarray:
    # The ridge only keeps features that do not vary, or say the same, from dividing by zero.
    size = np.trace(outer, axis1=-2, axis2=-1)[..., None, None] + _RIDGE
    ridge = _RIDGE * size * np.eye(outer.shape[-1])
    return np.linalg.solve(outer + ridge, moment[..., None])[..., 0]


def _interval(table: Table, names: Sequence[str], target: Target) -> tuple[np.ndarray, np.ndarray]:
    """Return the central 95 % of the three held-out R² when conditions are drawn again and all is fitted again."""
    rng = np.random.default_rng(seed_from("ranking"))
    alive = np.flatnonzero(table.used.any(1))
    values = []
    for _ in range(_RESAMPLES):
        times = np.bincount(rng.choice(alive, len(alive)), minlength=len(table.used)).astype(float)
        found = held_out_r2(table, names, target, times)
        values.append([found["r2_train"], found["r2_test"], found["r2_both"]])
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return low, high
