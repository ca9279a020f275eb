"""The arrays of the figures: pure functions of images, conditions and tables."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.analysis import join_pairs
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.files.tables import read_table
from passband.metrics.transfer_curves import transfer_curves
from passband.studies.paths import StudyPaths

#: Highest spatial frequency of the curves [1/Å].
Q_SHOWN = 1.2
#: What the figures show of a pair.
PAIR = ("train_label", "test_label", "loss", "dice", "sigma", "delta_epsilon")
_POINTS = 240
# Standard deviations from the mean to black and white.
_REACH = 3.0
# Most conditions of a matrix with numbers.
_NUMBERED = 16


def grey(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return an image as shades of grey, mean ± 3 standard deviations, last row first: figures count upwards."""
    deviation = max(float(image.std()), 1e-9)
    scaled = (image - image.mean()) / (2 * _REACH * deviation) + 0.5
    return np.ascontiguousarray((scaled.clip(0, 1) * 255).astype(np.uint8)[::-1])


def outlines(level: NDArray[Any], threshold: float, field: float) -> dict[str, list[NDArray[np.float64]]]:
    """Return the lines along which a map crosses a threshold, in the units of its field's width, y upwards: xs and ys of each."""
    from skimage.measure import find_contours

    rows, columns = level.shape
    scale = field / columns
    lines = find_contours(np.asarray(level, dtype=np.float32), threshold)
    xs = [(line[:, 1] + 0.5) * scale for line in lines]
    return {"xs": xs, "ys": [rows * scale - (line[:, 0] + 0.5) * scale for line in lines]}


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float | None:
    """Return the Dice score of a mask; None if both masks are empty."""
    both = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / both if both else None


def curve(condition: Condition) -> dict[str, NDArray[np.float64]]:
    """Return q, transfer (signed, along +x), magnitude (mean |T| over azimuth), envelope and its negative."""
    table = transfer_curves([condition], Q_SHOWN, _POINTS)
    columns = {name: table[name].to_numpy() for name in ("transfer", "magnitude", "envelope")}
    return {"q": table["q_per_angstrom"].to_numpy(), "below": -columns["envelope"], **columns}


def training_band(conditions: list[Condition]) -> dict[str, NDArray[np.float64]]:
    """Return q, low, middle and high: the tenth, half and nine tenths of mean |T| among training conditions; empty without any."""
    if not conditions:
        return {name: np.empty(0) for name in ("q", "low", "middle", "high")}
    table = transfer_curves(conditions, Q_SHOWN, _POINTS)
    values = table["magnitude"].to_numpy().reshape(len(conditions), _POINTS)
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9], axis=0)
    return {"q": table["q_per_angstrom"].to_numpy()[:_POINTS], "low": low, "middle": middle, "high": high}


def study_pairs(paths: StudyPaths) -> pl.DataFrame:
    """Return the pairs of a study from its tables: mean loss and Dice over seeds, σ, ε of both, Δε, labels, relative loss.

    Raises:
        BadInputError: if there are no tables of a study.
    """
    tables = []
    for path in map(paths.table, ("scores", "shift", "conditions")):
        if not path.is_file():
            raise BadInputError(f"{paths.folder}: has no {path.name}; give the folder of a study that has been run")
        try:
            tables.append(read_table(path))
        except (pl.exceptions.PolarsError, OSError) as error:
            reason = " ".join(str(error).split())
            raise BadInputError(f"{path}: cannot be read: {reason}; make the report again") from None
    try:
        pairs = join_pairs(*tables)
        return pairs.group_by("train_condition", "test_condition", maintain_order=True).agg(
            pl.col("train_label", "test_label").first().fill_null("a training set"),
            pl.col("sigma", "epsilon_train", "epsilon_test", "delta_epsilon").first(),
            pl.col("loss", "dice").mean(),
            ratio=(pl.col("loss") / pl.col("own_loss")).mean(),
            seeds=pl.col("seed").n_unique(),
        )
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"{paths.folder}: its tables are not those of a study: {reason}") from None


def matrix(pairs: pl.DataFrame, score: str) -> dict[str, Any]:
    """Return one cell for each pair: positions of its conditions, their labels, and the score."""
    train = {c: i for i, c in enumerate(pairs["train_condition"].unique(maintain_order=True))}
    test = {c: i for i, c in enumerate(pairs["test_condition"].unique(maintain_order=True))}
    values = pairs[score].to_numpy()
    order = np.log(np.maximum(values, 1e-6))
    dark = order > order.mean() if score == "loss" else order < order.mean()
    readable = max(len(train), len(test)) <= _NUMBERED
    return {
        "x": [test[c] for c in pairs["test_condition"]],
        "y": [train[c] for c in pairs["train_condition"]],
        "score": values,
        "text": [f"{v:.2f}" if readable else "" for v in values],
        "ink": ["white" if d else "black" for d in dark],
    } | {name: pairs[name].to_list() for name in PAIR}
