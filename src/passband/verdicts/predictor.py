"""Predict a network's loss from features, with a calibrated interval.

A Gaussian process on the calibration conditions (Rasmussen and Williams, 2006), whose length scales are fitted once and saved with the
model. The interval is a quantile of scaled residuals (conformal prediction; Lei et al., J. Am. Stat. Assoc. 113 (2018) 1094). Each residual
comes from a process fitted to the other folds (cross-conformal; Vovk, Ann. Math. Artif. Intell. 74 (2015) 9), because length scales fitted to
all conditions would make it too small. There is one residual per condition: images of one condition are not independent.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import cdist

from passband.base.identity import seed_from

#: Folds of the conditions for the residuals.
FOLDS = 5


@dataclass(frozen=True)
class Predictor:
    """A fitted Gaussian process with a Matérn 5/2 kernel, of D features and n calibration conditions."""

    names: tuple[str, ...]
    #: Mean and standard deviation of the features, shape [D].
    centre: np.ndarray
    scale: np.ndarray
    #: Standardised features [n, D], and the predicted quantity [n].
    x: np.ndarray
    y: np.ndarray
    #: Length scale of each feature [D]; variances of the process and of the noise.
    lengths: np.ndarray
    amplitude: float
    noise: float
    #: Of each condition from a process fitted without it, in predicted standard deviations [n].
    residuals: np.ndarray

    @cached_property
    def _factor(self) -> Any:
        covariance = self._kernel(self.x, self.x) + self.noise * np.eye(len(self.x))
        return cho_factor(covariance, lower=True)

    @cached_property
    def _alpha(self) -> np.ndarray:
        return cho_solve(self._factor, self.y - self.y.mean())

    def _kernel(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        r = math.sqrt(5) * cdist(a / self.lengths, b / self.lengths)
        return self.amplitude * (1 + r + r**2 / 3) * np.exp(-r)

    def _scaled(self, features: np.ndarray) -> np.ndarray:
        return (np.atleast_2d(features) - self.centre) / self.scale

    def predict(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the prediction and its standard deviation, both [B], from features [B, D]."""
        across = self._kernel(self._scaled(features), self.x)
        mean = self.y.mean() + across @ self._alpha
        explained = (across * cho_solve(self._factor, across.T).T).sum(1)
        return mean, np.sqrt(np.maximum(self.amplitude - explained, 0) + self.noise)

    def quantile(self, level: float) -> float:
        """Return the half-width, in predicted deviations, that covers `level` of new conditions; infinite with too few residuals."""
        n = len(self.residuals)
        rank = math.ceil((n + 1) * level)
        return float("inf") if rank > n else float(np.sort(np.abs(self.residuals))[rank - 1])

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return the distance of features [B, D] from the nearest calibration condition, over the 99th percentile of these among each other."""
        return cdist(self._scaled(features) / self.lengths, self.x / self.lengths).min(1) / self._usual_distance

    @cached_property
    def _usual_distance(self) -> float:
        x = self.x / self.lengths
        among = cdist(x, x)
        np.fill_diagonal(among, np.inf)
        return float(np.quantile(among.min(1), 0.99))

    def to_json(self) -> dict[str, Any]:
        """Return all that does not follow from the table of scores."""
        return {
            "names": list(self.names),
            "lengths": self.lengths.tolist(),
            "amplitude": self.amplitude,
            "noise": self.noise,
            "residuals": self.residuals.tolist(),
        }


def fit(names: tuple[str, ...], features: np.ndarray, y: np.ndarray) -> Predictor:
    """Return a Gaussian process of maximum likelihood from features [n, D] and y [n], with its residuals on held-out folds."""
    from threadpoolctl import threadpool_limits

    # Matrices this small lose more to waiting threads than they gain.
    with threadpool_limits(1):
        fitted = _most_likely(features, y)
        part = np.random.default_rng(seed_from("folds")).permutation(len(y)) % FOLDS
        residuals = np.zeros(len(y))
        for k in range(FOLDS):
            rest = part != k
            process = restore(_most_likely(features[rest], y[rest]) | {"names": names}, features[rest], y[rest])
            mean, deviation = process.predict(features[~rest])
            residuals[~rest] = (y[~rest] - mean) / deviation
    return restore(fitted | {"names": names, "residuals": residuals}, features, y)


def restore(saved: dict[str, Any], features: np.ndarray, y: np.ndarray) -> Predictor:
    """Return the predictor that `to_json` saved, with its table; ValueError if it is none of so many features."""
    centre, scale = _centre_and_scale(features)
    lengths, residuals = (np.array(saved.get(name, []), dtype=float) for name in ("lengths", "residuals"))
    amplitude, noise = float(saved["amplitude"]), float(saved["noise"])
    positive = np.array([amplitude, noise - 1e-9 * amplitude, *lengths.ravel()])
    if (
        lengths.shape != features.shape[1:]
        or residuals.ndim != 1
        or not (np.isfinite(residuals).all() and (positive > 0).all())
    ):
        raise ValueError(f"it is no predictor from {features.shape[1]} features")
    names, x = tuple(saved["names"]), (features - centre) / scale
    return Predictor(names, centre, scale, x, y, lengths, amplitude, noise, residuals)


def _centre_and_scale(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centre, scale = features.mean(0), features.std(0)
    return centre, np.where(scale > 1e-12 * np.maximum(np.abs(centre), 1e-12), scale, 1.0)


def _most_likely(features: np.ndarray, y: np.ndarray) -> dict[str, Any]:
    """Return lengths, amplitude and noise."""
    # Imported here because only fits need it, and verdicts should not wait for it.
    from scipy.optimize import minimize

    centre, scale = _centre_and_scale(features)
    x, spread = (features - centre) / scale, max(float(y.var()), 1e-6)
    bounds = [(spread * 1e-3, spread * 1e2), *[(0.3, 1e3)] * x.shape[1], (spread * 1e-4, spread * 2)]
    start = np.log([spread, *[3.0] * x.shape[1], spread * 0.1])
    # A feature that does not matter ends at the longest length.
    found = minimize(_unlikelihood, start, (x, y - y.mean()), "L-BFGS-B", jac=True, bounds=np.log(bounds))
    amplitude, *lengths, noise = np.exp(found.x).tolist()
    return {"lengths": lengths, "amplitude": amplitude, "noise": noise}


def _unlikelihood(parameters: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return minus the logarithm of the likelihood of y [n] at x [n, D], and its gradient.

    The parameters are the logarithms of amplitude, lengths [D] and noise [Rasmussen and Williams 2006, eqs 5.8 and 5.9]. Squared distances in
    the sums over pairs are multiplied out, which spares an array of n² for each feature.
    """
    amplitude, *lengths, noise = np.exp(parameters)
    z = x / np.array(lengths)
    r = math.sqrt(5) * cdist(z, z)
    decay = amplitude * np.exp(-r)
    kernel = (1 + r + r**2 / 3) * decay
    factor = cho_factor(kernel + (noise + 1e-10) * np.eye(len(y)), lower=True)
    alpha, inverse = cho_solve(factor, y), cho_solve(factor, np.eye(len(y)))
    log_likelihood = -y @ alpha / 2 - np.log(np.diag(factor[0])).sum() - len(y) / 2 * math.log(2 * math.pi)
    weight = np.outer(alpha, alpha) - inverse
    slope = weight * decay * (1 + r) * 5 / 3
    by_length = slope.sum(1) @ z**2 - (z * (slope @ z)).sum(0)
    gradient = np.array([(weight * kernel).sum() / 2, *by_length, noise * np.trace(weight) / 2])
    return -float(log_likelihood), -gradient
