"""How well do shift metrics predict a network's loss, in sample and on held-out conditions?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from scipy.spatial import Delaunay
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs
from passband.base.identity import seed_from
from passband.metrics.registry import column

_RESAMPLES = 1000
# Fewer pairs are not fitted, and fewer train conditions are not held out.
_FEWEST, _FEWEST_TRAINED = 10, 3
# Variances below this share of the largest are rounding.
_RCOND = 1e-10


@dataclass(frozen=True)
class Predictor:
    """Columns of the table of pairs that predict the loss: linearly, or smoothly with all squares and products too."""

    name: str
    columns: tuple[str, ...]
    form: Literal["linear", "smooth"]

    @property
    def trivial(self) -> bool:
        """True if it does not depend on contrast transfer."""
        return all(column(name).trivial for name in self.columns)


#: The predictor of the source, and the one that a newcomer would try first.
SOURCE, SOURCE_SMOOTH, DEFOCUS, MEAN = "σ and Δε, linear", "σ and Δε, smooth", "|Δdefocus|, linear", "mean loss"
#: The law of texture that comes with passband, fitted to passband's own studies.
DEFAULT_PREDICTOR = "ln loss by the law of texture (fitted to passband's own studies), smooth"
#: Every predictor of the analysis, trivial baselines first.
PREDICTORS = (
    Predictor(MEAN, (), "linear"),
    Predictor(DEFOCUS, ("defocus_difference_angstrom",), "linear"),
    Predictor("|Δdefocus|, smooth", ("defocus_difference_angstrom",), "smooth"),
    Predictor("image power spectra, linear", ("spectrum_distance",), "linear"),
    Predictor(SOURCE, ("sigma", "delta_epsilon"), "linear"),
    Predictor(SOURCE_SMOOTH, ("sigma", "delta_epsilon"), "smooth"),
    Predictor("shared bits, smooth", ("shared_information",), "smooth"),
    Predictor("ln SNR of the test and Δ ln dose, smooth", ("image_snr_test", "dose_difference"), "smooth"),
    Predictor(
        "film excess and texture contrast of both, smooth",
        ("film_excess", "texture_contrast_train", "texture_contrast_test"),
        "smooth",
    ),
    Predictor(DEFAULT_PREDICTOR, ("predicted_log_loss",), "smooth"),
    Predictor("σ, Δε and |Δdefocus|, linear", ("sigma", "delta_epsilon", "defocus_difference_angstrom"), "linear"),
)


def fit_all(pairs: pl.DataFrame, predictors: Sequence[Predictor] = PREDICTORS) -> list[dict[str, Any]]:
    """Fit predictors to the off-diagonal pairs of `join_pairs`, with and without zero defocus.

    Returns:
        One mapping a predictor whose columns vary in this study, and set of pairs (the second only if zero defocus
        takes part in some, but not all of them): predictor, form, trivial, default, pairs (all, without_zero_defocus), n_pairs,
        n_undefined (pairs left out because a metric is undefined, as σ is where nothing is transferred),
        n_train_conditions; on the mean loss over seeds r2_in_sample, r2_held_out (each train condition predicted by a
        fit to the others), r2_both_held_out (each pair predicted by a fit to the pairs that share no condition with
        it), r2_held_out_interval (95 %, from resampling train conditions without fitting again); r2_held_out_seeds
        (each seed's own). R² is None where there are too few pairs.
    """
    off_diagonal = pairs.filter(pl.col("train_condition") != pl.col("test_condition"))
    subsets = {
        "all": off_diagonal,
        "without_zero_defocus": off_diagonal.filter(~pl.col("train_zero") & ~pl.col("test_zero")),
    }
    return [
        _fit(predictor, name, table)
        for name, table in subsets.items()
        if name == "all" or 0 < len(table) < len(off_diagonal)
        for predictor in predictors
        if all(c in off_diagonal.columns and _varies(off_diagonal[c]) for c in predictor.columns)
    ]


def why_undefined(fit: dict[str, Any]) -> str | None:
    """Return why a row of `fit_all` lacks an R², in one sentence, or None if it has all of them."""
    pairs, trained = fit["n_pairs"], fit["n_train_conditions"]
    if pairs < _FEWEST:
        return f"{pairs} pairs of different conditions are too few for a fit, which takes at least {_FEWEST}."
    if fit["r2_in_sample"] is None:
        return "The loss is the same for all pairs, so there is nothing to explain."
    if trained < _FEWEST_TRAINED:
        return f"{trained} train conditions are too few to hold one out, which takes at least {_FEWEST_TRAINED}."
    if fit["r2_both_held_out"] is None:
        return f"Without the conditions of a pair, fewer than {_FEWEST} pairs are left to fit."
    return None


def held_out_predictions(pairs: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return the off-diagonal pairs' mean loss over seeds and a predictor's held-out `predicted` loss; no rows of too few pairs."""
    predictor, mean = _mean_of(pairs, name)
    predicted = _held_out(predictor, mean)
    return mean.clear() if predicted is None else mean.with_columns(predicted=predicted)


def smooth_surface(pairs: pl.DataFrame, points: int = 200) -> pl.DataFrame:
    """Return the smooth fit of the loss on a grid: sigma, delta_epsilon, loss; NaN outside the pairs' convex hull."""
    predictor, mean = _mean_of(pairs, SOURCE_SMOOTH)
    # Where σ or Δε does not vary there is no plane.
    if len(mean) < _FEWEST or not all(_varies(mean[c]) for c in predictor.columns):
        return pl.DataFrame(schema={"sigma": pl.Float64, "delta_epsilon": pl.Float64, "loss": pl.Float64})
    axes = [np.linspace(float(mean[c].min()), float(mean[c].max()), points) for c in predictor.columns]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    known = _features(predictor, mean)
    fitted = model(predictor).fit(known, mean["loss"].to_numpy())
    # Do not extrapolate the quadratic.
    inside = Delaunay(known, qhull_options="QJ").find_simplex(grid) >= 0
    return pl.DataFrame(
        {"sigma": grid[:, 0], "delta_epsilon": grid[:, 1], "loss": np.where(inside, fitted.predict(grid), np.nan)}
    )


def model(predictor: Predictor) -> BaseEstimator:
    """Return the unfitted regression of a predictor: least squares on standardised columns."""
    degree = 2 if predictor.form == "smooth" else 1
    return make_pipeline(StandardScaler(), PolynomialFeatures(degree, include_bias=False), LinearRegression())


def _fit(predictor: Predictor, subset: str, table: pl.DataFrame) -> dict[str, Any]:
    all_pairs, table = len(_mean_over_seeds(table)), table.filter(_defined(predictor))
    mean = _mean_over_seeds(table)
    groups, loss, x = mean["train_condition"].to_numpy(), mean["loss"].to_numpy(), _features(predictor, mean)
    in_sample = model(predictor).fit(x, loss).predict(x) if len(mean) >= _FEWEST else None
    held_out = _held_out(predictor, mean)
    of_seeds = [own for _, own in table.group_by("seed", maintain_order=True)]
    return {
        "predictor": predictor.name,
        "form": predictor.form,
        "trivial": predictor.trivial,
        "default": predictor.name == DEFAULT_PREDICTOR,
        "pairs": subset,
        "n_pairs": len(mean),
        "n_undefined": all_pairs - len(mean),
        "n_train_conditions": len(set(groups)),
        "r2_in_sample": _r2(loss, in_sample),
        "r2_held_out": _r2(loss, held_out),
        "r2_both_held_out": _r2_both_held_out(predictor, mean),
        "r2_held_out_interval": _interval(loss, held_out, groups),
        "r2_held_out_seeds": [_r2(own["loss"].to_numpy(), _held_out(predictor, own)) for own in of_seeds],
    }


def _mean_of(pairs: pl.DataFrame, name: str) -> tuple[Predictor, pl.DataFrame]:
    """Return a predictor by its name, and the mean over seeds of the off-diagonal pairs for which it is defined."""
    predictor = next(p for p in PREDICTORS if p.name == name)
    off_diagonal = pairs.filter(pl.col("train_condition") != pl.col("test_condition"))
    return predictor, _mean_over_seeds(off_diagonal.filter(_defined(predictor)))


def _mean_over_seeds(table: pl.DataFrame) -> pl.DataFrame:
    # All other columns are the same for every seed, or unused.
    rest = pl.all().exclude("train_condition", "test_condition", "loss", "seed")
    return table.group_by("train_condition", "test_condition", maintain_order=True).agg(
        pl.col("loss").mean(), rest.first()
    )


def _varies(column: pl.Series) -> bool:
    finite = column.filter(column.is_finite())
    return len(finite) > 0 and float(finite.max()) - float(finite.min()) > 1e-9


def _defined(predictor: Predictor) -> pl.Expr:
    return pl.all_horizontal(pl.lit(True), *[pl.col(c).is_finite() for c in predictor.columns])


def _features(predictor: Predictor, table: pl.DataFrame) -> np.ndarray:
    # Without columns the model is its intercept: the mean loss.
    return table.select(predictor.columns).to_numpy() if predictor.columns else np.zeros((len(table), 1))


def _held_out(predictor: Predictor, table: pl.DataFrame) -> np.ndarray | None:
    groups = table["train_condition"].to_numpy()
    if len(table) < _FEWEST or len(set(groups)) < _FEWEST_TRAINED:
        return None
    x, y = model(predictor)[:-1].fit_transform(_features(predictor, table)), table["loss"].to_numpy()
    # Least squares needs only sums of products of these columns.
    joint = np.column_stack([np.ones(len(y)), x, y])
    members = [np.flatnonzero(groups == g) for g in dict.fromkeys(groups)]
    sums = [joint[rows].T @ joint[rows] for rows in members]
    total, predicted = sum(sums), np.empty(len(x))
    for rows, own in zip(members, sums, strict=True):
        predicted[rows] = _predicted(total - own, x[rows])
    return predicted


def _r2_both_held_out(predictor: Predictor, table: pl.DataFrame) -> float | None:
    """Return R² when each pair is predicted by a fit to the pairs that share neither of its conditions, in either role."""
    if len(table) < _FEWEST or np.ptp(table["loss"].to_numpy()) == 0:
        return None
    pairs = Pairs.from_table(table.select("train_condition", "test_condition", "loss", *predictor.columns))
    fit = Fit(pairs, predictor.columns, "loss", linear=predictor.form == "linear", ridge=1e-12)
    return fit.both() if fit.fewest_left() >= _FEWEST else None


def _predicted(sums: np.ndarray, x: np.ndarray) -> np.ndarray:
    mean = sums[0, 1:] / sums[0, 0]
    spread = sums[1:, 1:] / sums[0, 0] - np.outer(mean, mean)
    # A column that is constant in the rest has no weight.
    weights = np.linalg.lstsq(spread[:-1, :-1], spread[:-1, -1], rcond=_RCOND)[0]
    return np.asarray(mean[-1] + (x - mean[:-1]) @ weights)


def _r2(loss: np.ndarray, predicted: np.ndarray | None) -> float | None:
    spread = ((loss - loss.mean()) ** 2).sum() if len(loss) else 0.0
    return None if predicted is None or spread == 0 else float(1 - ((loss - predicted) ** 2).sum() / spread)


def _interval(loss: np.ndarray, predicted: np.ndarray | None, groups: np.ndarray) -> list[float] | None:
    """Return the central 95 % of R² when train conditions are drawn again with replacement."""
    if predicted is None:
        return None
    rng = np.random.default_rng(seed_from("bootstrap"))
    rows = [np.flatnonzero(groups == g) for g in dict.fromkeys(groups)]
    values = []
    for _ in range(_RESAMPLES):
        drawn = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
        values.append(_r2(loss[drawn], predicted[drawn]))
    known = [value for value in values if value is not None]
    return [float(v) for v in np.percentile(known, [2.5, 97.5])] if known else None
