"""Every network on every condition: scores joined with shift metrics, as a table or as the square arrays that fits share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from passband.metrics.registry import differences

#: What a fit predicts: the loss, its logarithm, or its logarithm relative to the training or the test condition's in-domain loss.
Target = Literal["loss", "log_loss", "log_ratio", "log_excess"]
_KEYS = ("train_condition", "test_condition")
#: A condition counts as zero defocus within this distance [Å].
ZERO_DEFOCUS = 1.0


def join_pairs(
    scores: pl.DataFrame, shift: pl.DataFrame, conditions: pl.DataFrame, labels: dict[str, str] | None = None
) -> pl.DataFrame:
    """Return scores with shift metrics, each network's in-domain loss and whether zero defocus takes part.

    The rows of scores get the columns of shift and: own_loss (the in-domain loss: the same network under its training condition;
    null where training sets are tested), train_zero, test_zero, train_label, test_label. `labels` are those of training sets, which
    conditions lack.
    """
    # Where every condition lies at zero defocus, none is marked.
    at_zero = pl.col("defocus_angstrom").abs() < ZERO_DEFOCUS
    zero = conditions.select("condition", "label", zero=at_zero & ~at_zero.all())
    sets = {name: label for name, label in (labels or {}).items() if name not in set(conditions["condition"])}
    if sets:
        more = pl.DataFrame({"condition": list(sets), "label": list(sets.values()), "zero": False})
        zero = pl.concat([zero, more])
    in_domain = scores.filter(pl.col("train_condition") == pl.col("test_condition")).select(
        "train_condition", "seed", own_loss="loss"
    )
    pairs = scores.join(shift, on=["train_condition", "test_condition"], how="left", maintain_order="left")
    pairs = pairs.join(in_domain, on=["train_condition", "seed"], how="left", maintain_order="left")
    for side in ("train", "test"):
        named = zero.rename({"condition": f"{side}_condition", "label": f"{side}_label", "zero": f"{side}_zero"})
        pairs = pairs.join(named, on=f"{side}_condition", how="left", maintain_order="left")
    return pairs


@dataclass(frozen=True)
class Pairs:
    """Pairs of B conditions: rows are training conditions, columns are test conditions.

    Attributes:
        loss: mean over seeds, shape [B, B]; NaN where nothing was tested.
        features: shift metrics by name, shape [B, B].
        drawn: which condition each row and column is, shape [B]; resampling repeats some and omits others. Several of one family of
            specimens may count as one, whose pairs are then left out.
        chosen: which pairs to use at all, bool, shape [B, B].
    """

    loss: np.ndarray
    features: Mapping[str, np.ndarray]
    drawn: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    chosen: np.ndarray = field(default_factory=lambda: np.array(True))

    def __post_init__(self) -> None:
        """By default, each row is another condition."""
        if not len(self.drawn):
            object.__setattr__(self, "drawn", np.arange(len(self.loss)))

    @classmethod
    def from_table(cls, table: pl.DataFrame) -> "Pairs":
        """Return the pairs of a table with a row per train_condition and test_condition, loss, and numeric columns."""
        names = list(dict.fromkeys([*table["train_condition"], *table["test_condition"]]))
        squares = _squares(table, names)
        return cls(squares.pop("loss"), squares)

    @cached_property
    def used(self) -> np.ndarray:
        """Chosen pairs of different conditions that were tested, bool, shape [B, B]."""
        return (self.drawn[:, None] != self.drawn) & np.isfinite(self.loss) & self.chosen

    @cached_property
    def off(self) -> np.ndarray:
        """Used pairs for which the in-domain loss of both conditions is known, bool, shape [B, B]."""
        known = np.isfinite(self.in_domain)
        return self.used & known[:, None] & known

    @cached_property
    def in_domain(self) -> np.ndarray:
        """Loss of each network under its training condition, shape [B]."""
        return np.diag(self.loss)

    @cached_property
    def log_ratio(self) -> np.ndarray:
        """Logarithm of the loss relative to the network's in-domain loss, shape [B, B]."""
        return np.log(self.loss) - np.log(self.in_domain)[:, None]

    @cached_property
    def log_excess(self) -> np.ndarray:
        """Logarithm of the loss relative to that of networks trained under the test condition, shape [B, B]."""
        return np.log(self.loss) - np.log(self.in_domain)

    def target(self, name: Target) -> np.ndarray:
        """Return what a fit predicts, shape [B, B]: 0 where unused, NaN where a network is missing."""
        values = self.loss if name == "loss" else np.log(self.loss) if name == "log_loss" else getattr(self, name)
        return np.where(self.used, values, 0.0)

    def feature(self, name: str) -> np.ndarray:
        """Return a feature with 0 where it is undefined: a condition that transfers nothing shares nothing."""
        return np.nan_to_num(self.features[name], nan=0.0)

    def varies(self, *names: str) -> bool:
        """Tell whether the pairs have all of these features and each takes more than one value."""
        return all(n in self.features and np.ptp(self.feature(n)[self.used]) > 1e-9 for n in names)

    def among(self, chosen: np.ndarray) -> "Pairs":
        """Return only the pairs for which `chosen`, bool, shape [B, B], is true."""
        return replace(self, chosen=self.chosen & chosen)


class Square:
    """The tables of a study in which every training condition is a test condition."""

    def __init__(self, scores: pl.DataFrame, shift: pl.DataFrame, score: str = "loss"):
        """Convert a column of scores, and the shift metrics, to arrays."""
        self.names: list[str] = shift["train_condition"].unique(maintain_order=True).to_list()
        of_seeds = scores.sort("seed").partition_by("seed")
        self.loss = np.stack([_squares(own.select(*_KEYS, score), self.names)[score] for own in of_seeds], -1)
        self.features = _squares(shift, self.names)
        self.features |= differences(self.features)

    @property
    def pairs(self) -> Pairs:
        """All pairs, mean over seeds."""
        return Pairs(mean_over_seeds(self.loss), self.features)


def _squares(table: pl.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
    """Return each column of a table of pairs as an array over `names`, trained by tested; NaN where a pair is missing."""
    axes = dict.fromkeys(_KEYS, names)
    return {column: dense(table, axes, column) for column in table.columns if column not in _KEYS}


def dense(table: pl.DataFrame, axes: Mapping[str, Sequence[Any]], column: str) -> np.ndarray:
    """Return a column as an array with an axis for each key of the table, over its values; NaN where a row is missing."""
    array = np.full([len(values) for values in axes.values()], np.nan)
    places = (
        table[key].replace_strict(values, range(len(values)), return_dtype=pl.Int64).to_numpy()
        for key, values in axes.items()
    )
    array[tuple(places)] = table[column].to_numpy()
    return array


def mean_over_seeds(loss: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is finite; NaN where nothing is."""
    known = np.isfinite(loss)
    count = known.sum(2)
    return np.where(count > 0, np.where(known, loss, 0).sum(2) / np.maximum(count, 1), np.nan)


def central_95(drawn: Sequence[float]) -> tuple[float, float]:
    """Return the central 95 % of a statistic's bootstrap samples; NaN if it is undefined in more than half of them."""
    finite = [value for value in drawn if np.isfinite(value)]
    if not finite or 2 * len(finite) < len(drawn):
        return float("nan"), float("nan")
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)
