"""R² of predictions for pairs of conditions, with an interval from resampling conditions."""

import numpy as np

from passband.analysis.pairs import Pairs, Target
from passband.base.identity import seed_from
from replication.resampling import RESAMPLES, Statistic, with_percentiles


def r2(pairs: Pairs, predicted: np.ndarray, target: Target) -> Statistic:
    """Return R² of predictions with its central 95 %.

    Conditions are resampled without fitting again: a fit to conditions drawn with replacement sees fewer different ones
    and would look worse than it is.

    Args:
        pairs: the pairs.
        predicted: shape [B, B]; NaN where there is no prediction.
        target: what is predicted.
    """
    return _measured(pairs, [predicted], target)


def gain(pairs: Pairs, first: np.ndarray, second: np.ndarray, target: Target) -> Statistic:
    """Return R² of the second predictions less that of the first, both on the same resampled conditions."""
    return _measured(pairs, [second, first], target)


def ceiling(loss: np.ndarray, target: Target) -> float:
    """Return the largest R² that the noise between seeds leaves, of losses of shape [B, B, seeds]; NaN with one seed."""
    if loss.shape[-1] < 2:
        return float("nan")
    values = np.log(loss)
    own = np.diagonal(values).T
    if target in ("log_ratio", "log_excess"):
        values = values - (own[:, None] if target == "log_ratio" else own[None])
    off = ~np.eye(len(values), dtype=bool)
    noise = values[off].var(-1, ddof=1).mean() / values.shape[-1]
    return float(1 - noise / values.mean(-1)[off].var())


def _measured(pairs: Pairs, several: list[np.ndarray], target: Target) -> Statistic:
    y = pairs.target(target)
    used = pairs.used & np.isfinite(y) & np.all([np.isfinite(p) for p in several], axis=0)
    y, filled = np.where(used, y, 0), [np.where(used, p, 0) for p in several]
    n, rng = len(used), np.random.default_rng(seed_from("judging"))

    def score(times: np.ndarray) -> float:
        weight = used * times[:, None] * times
        if not weight.any():
            return float("nan")
        spread = (weight * (y - (weight * y).sum() / weight.sum()) ** 2).sum()
        values = [1 - (weight * (y - p) ** 2).sum() / spread for p in filled]
        return float(values[0] - (values[1] if len(values) > 1 else 0))

    drawn = [score(np.bincount(rng.integers(n, size=n), minlength=n).astype(float)) for _ in range(RESAMPLES)]
    return with_percentiles(score(np.ones(n)), drawn)
