"""A predictor without a form: trees on many metrics, judged on pairs of which they have seen neither condition."""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from passband.analysis.ranking import Table, Target
from passband.seeds import seed_from

#: What the loss may depend on: of the test, of the change, of both.
FEATURES = (
    "image_snr_test",
    "image_snr_train",
    "dose_difference",
    "epsilon_train",
    "delta_epsilon",
    "sigma",
    "signed_overlap",
    "contrast_correlation",
    "phase_rms",
    "phase_saturating",
    "wave_overlap",
    "shared_information",
    "channel_information_test",
    "delta_channel_information",
)
# Parts that the conditions are cut into; each pair of parts is predicted by trees that saw neither.
_FOLDS = 6
_TREES = 200
_LEAF = 5
_RESAMPLES = 500


def predictions(table: Table, names: Sequence[str], target: Target) -> np.ndarray:
    """Return the predicted target of each pair by trees that saw neither of its conditions, shape [B, B]; NaN where unused.

    Args:
        table: the pairs.
        names: of features.
        target: what to predict.
    """
    n = len(table.used)
    part = np.random.default_rng(seed_from("forest")).permutation(n) % _FOLDS
    x = np.stack([table.features[name] for name in names], -1)
    y = table.target[target]
    result = np.full((n, n), np.nan)
    for i in range(_FOLDS):
        for j in range(i, _FOLDS):
            kept = ~np.isin(part, (i, j))
            known = table.used & kept[:, None] & kept
            asked = np.zeros_like(known)
            asked[np.ix_(part == i, part == j)] = asked[np.ix_(part == j, part == i)] = True
            asked &= table.used
            if known.sum() < 2 * _LEAF or not asked.any():
                continue
            trees = ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, random_state=0, n_jobs=1)
            result[asked] = trees.fit(x[known], y[known]).predict(x[asked])
    return result


def r2(table: Table, predicted: np.ndarray, target: Target) -> tuple[float, float, float]:
    """Return R² of predictions, and its central 95 % when conditions are drawn again (without fitting again)."""
    y, used = table.target[target], table.used & np.isfinite(predicted)
    rng = np.random.default_rng(seed_from("forest", "interval"))
    n = len(used)

    def score(weight: np.ndarray) -> float:
        weight = weight * used
        mean = (weight * y).sum() / weight.sum()
        return float(1 - (weight * (y - np.where(used, predicted, 0)) ** 2).sum() / (weight * (y - mean) ** 2).sum())

    values = []
    for _ in range(_RESAMPLES):
        times = np.bincount(rng.integers(n, size=n), minlength=n).astype(float)
        if (times[:, None] * times * used).sum() > 0:
            values.append(score(times[:, None] * times))
    low, high = np.percentile(values, [2.5, 97.5])
    return score(np.ones_like(y)), float(low), float(high)
