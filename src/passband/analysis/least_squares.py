"""Least-squares fits to pairs of conditions, in sample and with the training, the test or both conditions held out."""

import itertools
from collections.abc import Sequence

import numpy as np

from passband.analysis.pairs import Pairs, Target


class Fit:
    """A quadratic (or linear) least-squares fit to some features, and all its fits without some conditions.

    Least squares needs only sums over pairs, so a fit without some conditions is the fit to all less their sums.
    """

    def __init__(
        self, pairs: Pairs, names: Sequence[str], target: Target, *, linear: bool = False, ridge: float = 1e-9
    ):
        """Prepare the sums for the features of these names; of none the fit is the mean.

        `linear` leaves out squares and products. `ridge`, relative to the sums, prevents division by zero where features do not
        vary, or agree.
        """
        self.pairs, self._y, self._ridge = pairs, pairs.target(target), ridge
        features = [pairs.feature(name) for name in names]
        standard = [(values - values[pairs.used].mean()) / (values[pairs.used].std() or 1.0) for values in features]
        products = [] if linear else [a * b for a, b in itertools.combinations_with_replacement(standard, 2)]
        # Shape [B, B, columns]
        self._x = np.stack([np.ones(pairs.used.shape), *standard, *products], -1)
        self._outer = self._x[..., :, None] * self._x[..., None, :]
        self._moment = self._x * self._y[..., None]

    def r2(self, times: np.ndarray | None = None) -> dict[str, float]:
        """Return r2_in_sample, r2_train and r2_test; `times` is how often each condition is drawn, shape [B]."""
        weight = self._weight(times)
        fits = self._fits(weight)
        return {f"r2_{kind}": self._score(weights, weight) for kind, weights in fits.items()}

    def predictions(self) -> dict[str, np.ndarray]:
        """Return the target as the fit gives it, shape [B, B]: in_sample, train (without its row), both (without either's pairs)."""
        weight = self._weight(None)
        fits = self._fits(weight) | {"both": self._without_both(weight)}
        return {kind: (fits[kind] * self._x).sum(-1) for kind in ("in_sample", "train", "both")}

    def both(self, times: np.ndarray | None = None) -> float:
        """Return R² when each pair is predicted by the fit to pairs that share no condition with it, in either role."""
        weight = self._weight(times)
        return self._score(self._without_both(weight), weight)

    def fewest_left(self) -> int:
        """Return the smallest number of pairs that a fit sees when both conditions of a pair are left out."""
        used = self.pairs.used
        return int(_without_either(used.astype(int))[used].min()) if used.any() else 0

    def _fits(self, weight: np.ndarray) -> dict[str, np.ndarray]:
        """Return the coefficients in_sample, and for each pair without its row (train) and without its column (test)."""
        outer, moment = weight[..., None, None] * self._outer, weight[..., None] * self._moment
        whole = outer.sum((0, 1)), moment.sum((0, 1))
        fits = {"in_sample": self._solve(*whole)[None, None]}
        for kind, axis in (("train", 1), ("test", 0)):
            fits[kind] = np.expand_dims(self._solve(whole[0] - outer.sum(axis), whole[1] - moment.sum(axis)), axis)
        return fits

    def _without_both(self, weight: np.ndarray) -> np.ndarray:
        outer, moment = weight[..., None, None] * self._outer, weight[..., None] * self._moment
        return self._solve(_without_either(outer), _without_either(moment))

    def _solve(self, outer: np.ndarray, moment: np.ndarray) -> np.ndarray:
        size = np.trace(outer, axis1=-2, axis2=-1)[..., None, None] + self._ridge
        ridge = self._ridge * size * np.eye(outer.shape[-1])
        return np.linalg.solve(outer + ridge, moment[..., None])[..., 0]

    def _weight(self, times: np.ndarray | None) -> np.ndarray:
        return self.pairs.used * (1.0 if times is None else times[:, None] * times)

    def _score(self, weights: np.ndarray, weight: np.ndarray) -> float:
        if not weight.any():
            return float("nan")
        predicted = (weights * self._x).sum(-1)
        mean = (weight * self._y).sum() / weight.sum()
        return float(1 - (weight * (self._y - predicted) ** 2).sum() / (weight * (self._y - mean) ** 2).sum())


def _without_either(values: np.ndarray) -> np.ndarray:
    """Return for each pair the sum of values [B, B, …] over the pairs that share neither of its conditions, in either role."""
    diagonal = values[np.arange(len(values)), np.arange(len(values))]
    sides = values.sum(0) + values.sum(1)
    # What both conditions share is subtracted twice, and so added again.
    shared = values + values.swapaxes(0, 1) + diagonal[:, None] + diagonal[None]
    return np.asarray(values.sum((0, 1)) - (sides[:, None] + sides[None] - shared))
