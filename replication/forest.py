"""Tree ensembles on many metrics; each pair is predicted by trees that saw neither of its conditions."""

from collections.abc import Sequence

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor

from passband.analysis.pairs import Pairs, Target
from passband.base.identity import seed_from

#: Columns that the loss may depend on: of the training and test conditions, and between them.
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


def predictions(pairs: Pairs, names: Sequence[str], target: Target) -> np.ndarray:
    """Return the predicted target of each pair by trees that saw neither of its conditions, shape [B, B]; NaN where unused.

    Args:
        pairs: the pairs.
        names: of features.
        target: what to predict.
    """
    n = len(pairs.used)
    part = np.random.default_rng(seed_from("forest")).permutation(n) % _FOLDS
    x = np.stack([pairs.feature(name) for name in names], -1)
    y = pairs.target(target)
    whole = pairs.used & np.isfinite(y)
    result = np.full((n, n), np.nan)
    for i in range(_FOLDS):
        for j in range(i, _FOLDS):
            kept = ~np.isin(part, (i, j))
            known = whole & kept[:, None] & kept
            wanted = np.zeros_like(known)
            wanted[np.ix_(part == i, part == j)] = wanted[np.ix_(part == j, part == i)] = True
            wanted &= whole
            if known.sum() < 2 * _LEAF or not wanted.any():
                continue
            trees = ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, random_state=0, n_jobs=1)
            result[wanted] = trees.fit(x[known], y[known]).predict(x[wanted])
    return result
