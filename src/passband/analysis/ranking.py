"""Which metric predicts the loss? Every metric alone and in pairs, on conditions that the fit has not seen."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.base.identity import seed_from
from passband.metrics.columns import column, differences

#: Conditions that transfer less than this share of the band count as near zero.
LOW_EPSILON = 0.15
#: Doses alike to this in their logarithm are similar (a factor of 1.5).
SIMILAR_DOSE = 0.405
#: How often conditions are drawn again for an interval.
RESAMPLES = 100
# Pairs of metrics that are kept.
_BEST = 12
# Fewer pairs of conditions than this say nothing.
_FEWEST = 30
_RIDGE = 1e-9

Target = Literal["loss", "log_loss", "log_ratio", "log_excess"]


@dataclass(frozen=True)
class Table:
    """A square table of pairs: which take part, what is to be predicted, and the candidates' values.

    Attributes:
        used: which pairs take part, shape [B, B].
        target: by name, mean over seeds, shape [B, B]: the loss, its logarithm, the logarithm of the loss over the network's own
            (log_ratio) and over that of networks trained where this one is tested (log_excess).
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
    """Return a row for each metric and the best pairs of metrics, subset of pairs and target, best first.

    Args:
        scores: a row per train condition, test condition and seed.
        shift: a row per train condition and test condition, from `shift_table`.

    Returns:
        predictor (metrics joined by ` + `), metrics (1 or 2), trivial, pairs (all, without_low_epsilon, similar_dose), target
        (loss, log_loss), n_pairs, spearman (of a single metric), r2_in_sample, r2_train (each train condition predicted
        by a fit to the others), r2_test (the same for test conditions), r2_both (each pair by a fit to pairs that share no
        condition with it), and low and high of the last three: central 95 % when conditions are drawn again with
        replacement and everything is fitted again. The form is quadratic: squares and products of the metrics too.
    """
    table, epsilon = tabulate(scores, shift)
    rows = []
    parts = {"all": table, "without_low_epsilon": table.without(epsilon < LOW_EPSILON)}
    if "dose_difference" in table.features:
        alike = np.abs(table.features["dose_difference"]) < SIMILAR_DOSE
        parts["similar_dose"] = Table(table.used & alike, table.target, table.features)
    for pairs, part in parts.items():
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
    for name in shift.columns:
        if name in ("train_condition", "test_condition"):
            continue
        values = shift[name].to_numpy().astype(float).reshape(n, n)
        # Undefined only where a condition transfers nothing: then nothing is shared.
        features[name] = np.nan_to_num(values, nan=0.0)
    features |= differences(features)
    epsilon = shift["epsilon_train"].to_numpy().reshape(n, n)[:, 0]
    safe = np.where(used, measured, 1.0)
    log, own = np.log(safe), np.log(np.diag(measured))
    # NaN where a network is missing: a target that a fit must not be asked for.
    targets = {"loss": safe, "log_loss": log, "log_ratio": log - own[:, None], "log_excess": log - own}
    return Table(used, targets, features), epsilon


def _ranked(table: Table, pairs: str, target: Target) -> list[dict[str, object]]:
    features = list(table.features)
    rows: list[dict[str, object]] = []
    fits: dict[tuple[str, ...], Fit] = {(): Fit(table, (), target)} | {
        (name,): Fit(table, (name,), target) for name in features
    }
    two: dict[tuple[str, ...], dict[str, float]] = {}
    for pair in itertools.combinations(features, 2):
        two[pair] = Fit(table, pair, target).r2()
    # Leaving both conditions out takes a fit for every pair of conditions: only for pairs of metrics that may win.
    best = sorted(two, key=lambda names: -min(two[names]["r2_train"], two[names]["r2_test"]))[:_BEST]
    source = [names for names in two if set(names) == {"sigma", "delta_epsilon"}]
    fits |= {names: Fit(table, names, target) for names in dict.fromkeys([*best, *source])}
    for names, fit in fits.items():
        values = table.features[names[0]][table.used] if len(names) == 1 else None
        found = judge(fit)
        rows.append(
            {
                "predictor": " + ".join(names) or "mean",
                "metrics": len(names),
                "trivial": all(column(name).trivial for name in names),
                "pairs": pairs,
                "target": target,
                "n_pairs": int(table.used.sum()),
                "spearman": None
                if values is None or not np.ptp(values)
                else float(spearmanr(values, table.target[target][table.used])[0]),
                **found,
            }
        )
    return rows


def judge(fit: "Fit") -> dict[str, float]:
    """Return r2_in_sample, and r2_train, r2_test and r2_both with _low and _high of their central 95 %."""
    found = fit.r2() | {"r2_both": fit.both()}
    low, high = _interval(fit)
    for k, kind in enumerate(("train", "test", "both")):
        found |= {f"r2_{kind}_low": float(low[k]), f"r2_{kind}_high": float(high[k])}
    return found


class Fit:
    """A quadratic (or linear) least-squares fit to some features, and all its fits without some conditions.

    Least squares needs only sums over pairs, so a fit without some conditions is the fit to all less their sums.
    """

    def __init__(self, table: Table, names: Sequence[str], target: Target, *, linear: bool = False):
        """Prepare the sums.

        Args:
            table: what to fit.
            names: of features; none is the mean.
            target: what to predict.
            linear: without squares and products.
        """
        self.table, self._y = table, table.target[target]
        self._x = _design([table.features[name] for name in names], table.used, linear=linear)
        self._outer = self._x[..., :, None] * self._x[..., None, :]
        self._moment = self._x * self._y[..., None]

    def r2(self, times: np.ndarray | None = None) -> dict[str, float]:
        """Return r2_in_sample, r2_train and r2_test; `times` is how often each condition is drawn, shape [B]."""
        weight = self._weight(times)
        outer, moment = weight[..., None, None] * self._outer, weight[..., None] * self._moment
        whole = outer.sum((0, 1)), moment.sum((0, 1))
        fits = {"r2_in_sample": _solve(*whole)[None, None]}
        for kind, axis in (("r2_train", 1), ("r2_test", 0)):
            fits[kind] = np.expand_dims(_solve(whole[0] - outer.sum(axis), whole[1] - moment.sum(axis)), axis)
        return {kind: self._score(weights, weight) for kind, weights in fits.items()}

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the target as the fit gives it, shape [B, B]: in_sample, train (without its row), both (without either's pairs)."""
        weight = self._weight(None)
        outer, moment = weight[..., None, None] * self._outer, weight[..., None] * self._moment
        whole = outer.sum((0, 1)), moment.sum((0, 1))
        without_row = _solve(whole[0] - outer.sum(1), whole[1] - moment.sum(1))[:, None]
        weights = {"in_sample": _solve(*whole)[None, None], "train": without_row, "both": self._without_both(weight)}
        return {kind: (w * self._x).sum(-1) for kind, w in weights.items()}

    def both(self, times: np.ndarray | None = None) -> float:
        """Return R² when each pair is predicted by the fit to pairs that share no condition with it, in either role."""
        weight = self._weight(times)
        return self._score(self._without_both(weight), weight)

    def _without_both(self, weight: np.ndarray) -> np.ndarray:
        left = []
        for part in (weight[..., None, None] * self._outer, weight[..., None] * self._moment):
            own = part[np.arange(len(part)), np.arange(len(part))]
            sides = part.sum(0) + part.sum(1)
            # What both conditions share is taken away twice, and so added again.
            shared = part + part.swapaxes(0, 1) + own[:, None] + own[None]
            left.append(part.sum((0, 1)) - (sides[:, None] + sides[None] - shared))
        return _solve(*left)

    def _weight(self, times: np.ndarray | None) -> np.ndarray:
        return self.table.used * (1.0 if times is None else times[:, None] * times)

    def _score(self, weights: np.ndarray, weight: np.ndarray) -> float:
        predicted = (weights * self._x).sum(-1)
        mean = (weight * self._y).sum() / weight.sum()
        return float(1 - (weight * (self._y - predicted) ** 2).sum() / (weight * (self._y - mean) ** 2).sum())


def _design(features: list[np.ndarray], used: np.ndarray, *, linear: bool) -> np.ndarray:
    """Return 1, the standardised features, and unless linear their squares and products, shape [B, B, columns]."""
    standard = [(values - values[used].mean()) / (values[used].std() or 1.0) for values in features]
    products = [] if linear else [a * b for a, b in itertools.combinations_with_replacement(standard, 2)]
    return np.stack([np.ones(used.shape), *standard, *products], -1)


def _solve(outer: np.ndarray, moment: np.ndarray) -> np.ndarray:
    # The ridge only keeps features that do not vary, or say the same, from dividing by zero.
    size = np.trace(outer, axis1=-2, axis2=-1)[..., None, None] + _RIDGE
    ridge = _RIDGE * size * np.eye(outer.shape[-1])
    return np.linalg.solve(outer + ridge, moment[..., None])[..., 0]


def _interval(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """Return the central 95 % of the three held-out R² when conditions are drawn again and all is fitted again."""
    rng = np.random.default_rng(seed_from("ranking"))
    alive = np.flatnonzero(fit.table.used.any(1))
    values = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.choice(alive, len(alive)), minlength=len(fit.table.used)).astype(float)
        found = fit.r2(times)
        values.append([found["r2_train"], found["r2_test"], fit.both(times)])
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return low, high
