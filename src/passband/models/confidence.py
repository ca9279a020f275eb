"""The confidence of a predicted particle: the probability that it matches a true one; a logistic regression on simulated images.

It uses the first network's prediction alone, so that `segment` need not run a second one, whose agreement adds nothing to these features.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import ndimage

from passband.base.errors import BadInputError

#: Names of what `particle_features` returns.
FEATURES = ("logit_probability", "unsure_share", "ln_diameter", "circularity", "cut_by_edge", "spill")
#: Key of a fitted confidence beside the predictors of verdicts.
CONFIDENCE = "confidence"
#: Fewest particles, right and wrong, that one is fitted to.
FEWEST = 20
#: Limits of the bins in which confidences are compared with the share that is right.
BINS = (0.5, 0.8, 0.95)
# A pixel is unsure whose class has less than this probability.
_SURE = 0.9
# Distance from a particle within which probability has spilled [Å].
_REACH = 8.0
# Refuse particles farther than 1.5 × the 99th-percentile distance from the mean of the calibration.
_TOO_FAR = 1.5
_LEAST = 1e-3
_Numbers = NDArray[np.float64]


def particle_features(
    instances: NDArray[np.int32], probability: NDArray[np.float32], particles: pl.DataFrame, pixel_size_angstrom: float
) -> _Numbers:
    """Return the features of each particle of a table of `measure_particles.particle_table`, shape [N, 6].

    The logit of the mean probability; the share of unsure pixels, of probability 0.1 to 0.9; ln diameter [Å]; circularity; 1 if the edge of
    the image cuts the particle; the summed probability of the background within 8 Å over the particle's area.
    """
    count = len(particles)
    if not count:
        return np.zeros((0, len(FEATURES)))
    reach = 2 * max(round(_REACH / pixel_size_angstrom), 1) + 1
    around = np.where(instances == 0, ndimage.maximum_filter(instances, reach), 0)

    def total(values: NDArray[Any], labels: NDArray[np.int32]) -> _Numbers:
        sums: NDArray[Any] = np.bincount(labels.ravel(), values.ravel().astype(float), count + 1)
        return sums[1:]

    area = np.bincount(instances.ravel(), minlength=count + 1)[1:]
    mean = particles["mean_probability"].to_numpy()
    return np.stack(
        [
            np.log((mean + _LEAST) / (1 - mean + _LEAST)),
            total(np.maximum(probability, 1 - probability) < _SURE, instances) / area,
            np.log(particles["equivalent_diameter_angstrom"].to_numpy()),
            particles["circularity"].to_numpy(),
            particles["touches_edge"].to_numpy().astype(float),
            total(probability, around) / area,
        ],
        axis=1,
    )


@dataclass(frozen=True, eq=False)
class Confidence:
    """A fitted logistic regression of D features.

    Attributes:
        centre: mean of the features, shape [D].
        scale: their standard deviations, shape [D].
        weights: of the standardised features, shape [D].
        constant: added to them, a number.
        inverse: of the correlations of the features, shape [D, D].
        limit: of the distance from the mean (Mahalanobis), beyond which a particle gets no confidence; a number.
    """

    centre: _Numbers
    scale: _Numbers
    weights: _Numbers
    constant: _Numbers
    inverse: _Numbers
    limit: _Numbers

    def of(self, features: _Numbers) -> _Numbers:
        """Return the confidence of particles with features [N, D]; NaN for those unlike the calibrated ones."""
        x = (features - self.centre) / self.scale
        probability = 1 / (1 + np.exp(-(x @ self.weights + self.constant)))
        return np.where(_distance(x, self.inverse) <= self.limit, probability, np.nan)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return {name: values.tolist() for name, values in vars(self).items()}


def _distance(x: _Numbers, inverse: _Numbers) -> _Numbers:
    return np.sqrt(np.einsum("ni,ij,nj->n", x, inverse, x))


def fit(features: _Numbers, right: NDArray[np.bool_]) -> Confidence | None:
    """Return the logistic regression of whether particles with features [N, D] are right; None with under 20 right or 20 wrong ones."""
    from sklearn.linear_model import LogisticRegression

    if min(right.sum(), (~right).sum()) < FEWEST:
        return None
    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = (features - centre) / scale
    # Without the diagonal, a feature that never varies would have no inverse.
    inverse = np.linalg.inv(x.T @ x / len(x) + 1e-6 * np.eye(x.shape[1]))
    limit = _TOO_FAR * np.quantile(_distance(x, inverse), 0.99)
    fitted = LogisticRegression(C=10.0, max_iter=1000).fit(x, right)
    return Confidence(centre, scale, fitted.coef_[0], fitted.intercept_[0], inverse, np.array(limit))


def restore(saved: Any) -> Confidence:
    """Return the confidence that `to_json` saved; BadInputError if it is none."""
    size = len(FEATURES)
    shapes = dict.fromkeys(("centre", "scale", "weights"), (size,)) | {
        "constant": (),
        "inverse": (size, size),
        "limit": (),
    }
    try:
        numbers = {name: np.array(saved[name], dtype=float) for name in shapes}
        odd = [n for n, a in numbers.items() if a.shape != shapes[n] or not np.isfinite(a).all()]
        if odd or (numbers["scale"] <= 0).any():
            raise ValueError(f"{(odd or ['scale'])[0]} is none of {size} features")
    except (KeyError, TypeError, ValueError) as error:
        what = f"holds no confidence of particles: {type(error).__name__}: {error}"
        raise BadInputError(what, remedy="get the model again") from None
    return Confidence(**numbers)


def probability_of(features: _Numbers) -> _Numbers:
    """Return the mean probability of particles with features [N, D]."""
    return ((1 + 2 * _LEAST) / (1 + np.exp(-features[:, 0])) - _LEAST).clip(0, 1)


@dataclass(frozen=True)
class Reliability:
    """How often particles of a confidence are right.

    Attributes:
        particles: number of particles with a confidence up to 0.5, 0.8, 0.95 and 1, and without one.
        right: how many of these are right.
        squared_confidence: summed squared error of the confidence, over particles with one.
        squared_probability: the same of the mean probability.
    """

    particles: tuple[int, ...]
    right: tuple[int, ...]
    squared_confidence: float
    squared_probability: float


def reliability(confidence: _Numbers, probability: _Numbers, right: NDArray[np.bool_]) -> Reliability:
    """Return how often particles with a confidence (NaN for none) and a mean probability, [N] each, are right."""
    known = np.isfinite(confidence)
    place = np.where(known, np.searchsorted(BINS, np.where(known, confidence, 0), side="right"), len(BINS) + 1)
    counts, good = (tuple(np.bincount(p, minlength=len(BINS) + 2).tolist()) for p in (place, place[right]))
    ours, mean = (float(((values - right)[known] ** 2).sum()) for values in (confidence, probability))
    return Reliability(counts, good, ours, mean)


def reliability_table(parts: Sequence[Reliability]) -> list[str]:
    """Return lines of Markdown: the share right by confidence over conditions or images, with its central 95 % when these are drawn again."""
    particles, right = (np.array([getattr(p, name) for p in parts]) for name in ("particles", "right"))
    draws = np.random.default_rng(0).integers(len(parts), size=(1000, len(parts)))
    names = ("0 to 0.5", "0.5 to 0.8", "0.8 to 0.95", "0.95 to 1", "none: unlike the calibrated ones")
    lines = ["| confidence | particles | share right |", "|---|---|---|"]
    for i, name in enumerate(names):
        n, r = particles[:, i], right[:, i]
        share = "–"
        if n.sum():
            drawn = r[draws].sum(1) / np.maximum(n[draws].sum(1), 1)
            low, high = np.percentile(drawn[n[draws].sum(1) > 0], [2.5, 97.5])
            share = f"{r.sum() / n.sum():.3f} [{low:.3f}, {high:.3f}]"
        lines.append(f"| {name} | {n.sum()} | {share} |")
    count = particles[:, :-1].sum()
    base = right[:, :-1].sum() / max(count, 1)
    ours, mean = (sum(getattr(p, f"squared_{k}") for p in parts) / max(count, 1) for k in ("confidence", "probability"))
    return [
        *lines,
        "",
        f"Brier score {ours:.3f}; of the mean probability taken as the confidence {mean:.3f}; of the share right of all, {base:.3f}, "
        f"{base * (1 - base):.3f}. In brackets: central 95 %.",
    ]


def finite_or_none(values: _Numbers) -> list[float | None]:
    """Return numbers as a list, with None for NaN."""
    return [None if math.isnan(v) else v for v in values.tolist()]
