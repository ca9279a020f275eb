"""Predict the loss of a network before it is trained on a set of conditions, from the networks of the standard results."""

import functools
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl

from passband.conditions import Condition
from passband.metrics import measure
from passband.metrics.band import Q_MAX
from passband.verdicts.features import ln_dose
from passband.verdicts.statements import Statement

#: Features of a training set and a test condition that predict the loss.
FEATURES = (
    *("ln_size", "epsilon_test", "image_snr", "bits", "ln_dose"),
    *("phase_rms", "sigma", "sigma_best", "epsilon_train"),
)
#: Share of the conditions that are the worst.
WORST = 0.1
_TREES, _LEAF, _FOLDS = 150, 5, 8
# Points of the curve of Dice over loss.
_POINTS = 24


def set_features(shift: pl.DataFrame, sizes: Mapping[str, int], tests: Sequence[tuple[str, Condition]]) -> pl.DataFrame:
    """Return train_condition, test_condition and FEATURES, a row per set and test.

    `shift` is of `metrics.shift_table.set_shift_table` over the whole band, `sizes` the number of conditions of each set.
    """
    conditions = [c for _, c in tests]
    single = measure(["image_snr", "channel_information"], conditions, conditions[:1], Q_MAX)
    alone = pl.DataFrame(
        {
            "test_condition": [name for name, _ in tests],
            "image_snr": single["image_snr_train"].numpy(),
            "bits": single["channel_information_train"].numpy(),
            "ln_dose": [ln_dose(c) for c in conditions],
        }
    )
    ln_size = pl.col("train_condition").replace_strict({n: float(np.log(size)) for n, size in sizes.items()})
    joined = shift.join(alone, on="test_condition", maintain_order="left").with_columns(ln_size=ln_size)
    return joined.select("train_condition", "test_condition", *FEATURES)


@functools.cache
def learnt() -> pl.DataFrame:
    """Return the bundled table: set_features of the standard study of training sets, with the losses (`python -m replication verdict-data`)."""
    return pl.read_parquet(BytesIO((files("passband.verdicts") / "data/set_losses.parquet").read_bytes()))


@functools.cache
def learnt_facts() -> dict[str, list[float]]:
    """Return the bundled results of `spread` for that table, and of `dice_of_loss` for its study."""
    facts: dict[str, list[float]] = json.loads((files("passband.verdicts") / "data/set_losses.json").read_bytes())
    return facts


def spread(table: pl.DataFrame) -> dict[str, list[float]]:
    """Return the 90 % interval of true over predicted loss of held-out sets, for the mean and for the worst share.

    The table has train_condition, FEATURES and loss. Test conditions occur in training with other sets.
    """
    names = table["train_condition"].unique(maintain_order=True).to_list()
    part = dict(zip(names, np.random.default_rng(0).permutation(len(names)) % _FOLDS, strict=True))
    of = table["train_condition"].replace_strict(part, return_dtype=pl.Int64).to_numpy()
    x, y = _matrix(table), np.log(table["loss"].to_numpy())
    predicted = np.zeros(len(y))
    for k in range(_FOLDS):
        predicted[of == k] = _trees().fit(x[of != k], y[of != k]).predict(x[of == k])
    losses = table.select("train_condition", "loss").with_columns(predicted=np.exp(predicted))
    sets = losses.group_by("train_condition", maintain_order=True).agg(
        mean=pl.col("loss").mean() / pl.col("predicted").mean(), worst=_worst("loss") / _worst("predicted")
    )
    return {name: np.quantile(sets[name].to_numpy(), [0.05, 0.95]).tolist() for name in ("mean", "worst")}


def dice_of_loss(scores: pl.DataFrame) -> dict[str, list[float]]:
    """Return the mean Dice of networks over their loss as a falling curve, curve_loss and curve_dice, from their scores."""
    from sklearn.isotonic import IsotonicRegression

    loss = scores["loss"].to_numpy()
    points = np.quantile(loss, np.linspace(0, 1, _POINTS))
    fitted = IsotonicRegression(increasing=False, out_of_bounds="clip").fit(loss, scores["dice"].to_numpy())
    return {"curve_loss": points.tolist(), "curve_dice": fitted.predict(points).tolist()}


def predict(features: pl.DataFrame) -> pl.DataFrame:
    """Return train_condition, and loss and Dice over the tests (mean, mean_dice) and over the worst share of them (worst, worst_dice)."""
    table, facts = learnt(), learnt_facts()
    trees = _trees().fit(_matrix(table), np.log(table["loss"].to_numpy()))
    loss = np.exp(trees.predict(_matrix(features)))
    losses = features.with_columns(loss=loss, dice=np.interp(loss, facts["curve_loss"], facts["curve_dice"]))
    return losses.group_by("train_condition", maintain_order=True).agg(
        mean=pl.col("loss").mean(),
        worst=_worst("loss"),
        mean_dice=pl.col("dice").mean(),
        worst_dice=-_worst(-pl.col("dice")),
    )


def outside_domain(conditions: Sequence[Condition]) -> list[Statement]:
    """Return which features of a session's conditions lie outside the standard study of training sets."""
    table, result = learnt(), []
    metrics = measure(["epsilon", "image_snr"], conditions, conditions[:1], Q_MAX)
    values = {
        "image_snr": ("signal over noise", metrics["image_snr_train"].numpy()),
        "ln_dose": ("dose", np.array([ln_dose(c) for c in conditions])),
        "epsilon_test": ("ε", metrics["epsilon_train"].numpy()),
    }
    for name, (title, value) in values.items():
        known = table[name].to_numpy()
        slack = 0.05 * np.ptp(known)
        share = float(((value < known.min() - slack) | (value > known.max() + slack)).mean())
        if share > WORST:
            result.append(Statement("outside_sets", title, share, WORST))
    return result


def _worst(values: str | pl.Expr) -> pl.Expr:
    column = pl.col(values) if isinstance(values, str) else values
    return column.top_k((pl.len() * WORST).ceil().cast(pl.Int64)).mean()


def _matrix(table: pl.DataFrame) -> np.ndarray:
    return table.select(FEATURES).fill_nan(0.0).fill_null(0.0).to_numpy()


def _trees() -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    return ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, random_state=0, n_jobs=1)
