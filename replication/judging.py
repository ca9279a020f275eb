"""R² and rank correlation of predictions for pairs of conditions, with an interval from resampling conditions; what noise leaves."""

from collections.abc import Callable

import numpy as np
from scipy.stats import rankdata

from passband.analysis.pairs import Pairs, Target
from passband.base.identity import seed_from
from replication.resampling import RESAMPLES, Statistic, with_percentiles

# Of weights, the target and predictions.
_Score = Callable[..., float]


def r2(pairs: Pairs, predicted: np.ndarray, target: Target) -> Statistic:
    """Return R² of predictions with its central 95 %.

    Conditions are resampled without fitting again: a fit to conditions drawn with replacement sees fewer different ones
    and would look worse than it is. Conditions of one group (`Pairs.drawn`) are resampled together.

    Args:
        pairs: the pairs.
        predicted: shape [B, B]; NaN where there is no prediction.
        target: what is predicted.
    """
    return _measured(pairs, [predicted], target, _explained)


def gain(pairs: Pairs, first: np.ndarray, second: np.ndarray, target: Target) -> Statistic:
    """Return R² of the second predictions less that of the first, both on the same resampled conditions."""
    return _measured(pairs, [second, first], target, lambda w, y, a, b: _explained(w, y, a) - _explained(w, y, b))


def rank(pairs: Pairs, predicted: np.ndarray, target: Target) -> Statistic:
    """Return Spearman's rank correlation of predictions; resampled conditions keep the ranks of the whole sample."""
    used = pairs.used & np.isfinite(pairs.target(target)) & np.isfinite(predicted)
    ranks = np.full((2, *used.shape), np.nan)
    ranks[:, used] = rankdata(pairs.target(target)[used]), rankdata(predicted[used])

    def score(weight: np.ndarray, _: np.ndarray, known: np.ndarray) -> float:
        y, x = (np.where(used, r - np.average(r[used], weights=weight[used]), 0) for r in (ranks[0], known))
        size = (weight * x**2).sum() * (weight * y**2).sum()
        return float((weight * x * y).sum() / np.sqrt(size)) if size > 0 else float("nan")

    return _measured(pairs, [ranks[1]], target, score)


def noise(loss: np.ndarray, target: Target) -> float:
    """Return the variance of a target between seeds, mean over pairs; NaN with one seed.

    Args:
        loss: of every seed, shape [B, B, seeds].
        target: whose variance.
    """
    if loss.shape[-1] < 2:
        return float("nan")
    of_seeds = [Pairs(one, {}) for one in np.moveaxis(loss, -1, 0)]
    used = np.all([p.used for p in of_seeds], axis=0)
    return float(np.var([p.target(target)[used] for p in of_seeds], axis=0, ddof=1).mean())


def left_by(pairs: Pairs, target: Target, variance: float) -> float:
    """Return the largest R² that a noise of this variance in the target leaves."""
    return float(1 - variance / pairs.target(target)[pairs.used].var())


def ceiling(loss: np.ndarray, target: Target) -> float:
    """Return the largest R² that the noise between seeds leaves, of losses of shape [B, B, seeds]; NaN with one seed."""
    whole = Pairs(np.exp(np.log(loss).mean(-1)), {})
    return left_by(whole, target, noise(loss, target) / loss.shape[-1])


def _explained(weight: np.ndarray, y: np.ndarray, predicted: np.ndarray) -> float:
    spread = (weight * (y - (weight * y).sum() / weight.sum()) ** 2).sum()
    return float(1 - (weight * (y - predicted) ** 2).sum() / spread)


def _measured(pairs: Pairs, several: list[np.ndarray], target: Target, score: _Score) -> Statistic:
    y = pairs.target(target)
    used = pairs.used & np.isfinite(y) & np.all([np.isfinite(p) for p in several], axis=0)
    y, filled = np.where(used, y, 0), [np.where(used, p, 0) for p in several]
    groups = np.unique(pairs.drawn, return_inverse=True)[1]
    n, rng = groups.max() + 1, np.random.default_rng(seed_from("judging"))

    def weighted(times: np.ndarray) -> float:
        weight = used * times[:, None] * times
        return score(weight, y, *filled) if weight.any() else float("nan")

    drawn = [
        weighted(np.bincount(rng.integers(n, size=n), minlength=n)[groups].astype(float)) for _ in range(RESAMPLES)
    ]
    return with_percentiles(weighted(np.ones(len(used))), drawn)
