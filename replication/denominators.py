"""Networks trained near zero defocus, tested elsewhere: their loss over the in-domain loss, and over that of networks trained there."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from passband.analysis.pairs import Pairs, Square
from replication import authors
from replication.outcome import table
from replication.resampling import Statistic, measured_together

#: Columns of the scores, and in words; `wrong` is from `with_errors`.
LOSSES = {"loss": "cross-entropy + Dice", "wrong": "wrong pixels"}


def with_errors(scores: pl.DataFrame) -> pl.DataFrame:
    """Return scores with false positives `fp_share`, false negatives `fn_share` and their sum `wrong`, over the particles' area."""
    area = pl.col("tp") + pl.col("fn")
    shares = {"fp_share": pl.col("fp") / area, "fn_share": pl.col("fn") / area}
    return scores.with_columns(**shares, wrong=(pl.col("fp") + pl.col("fn")) / area)


def square_of(scores: pl.DataFrame, names: list[str], score: str = "loss") -> Square:
    """Return a column of scores over these conditions, without shift metrics; NaN where no network was trained or tested."""
    pairs = pl.DataFrame({"train_condition": names}).join(pl.DataFrame({"test_condition": names}), how="cross")
    return Square(scores, pairs, score)


@dataclass(frozen=True)
class Networks:
    """Networks of one study, and which of their conditions lie near zero and which far away.

    Attributes:
        study: in words.
        loss: in words.
        square: of their losses.
        near: shape [B].
        far: shape [B].
        group: only conditions of one group are compared, shape [B].
    """

    study: str
    loss: str
    square: Square
    near: np.ndarray
    far: np.ndarray
    group: np.ndarray

    def measured(self) -> dict[str, Statistic]:
        """Return `statistics` with their intervals."""
        return measured_together(self.square, self.statistics, "denominators")

    def statistics(self, pairs: Pairs) -> dict[str, float]:
        """Return medians for networks trained near zero and for those trained far away, all tested far away.

        `home`: in-domain loss near zero over that far away. `own`: loss over the network's in-domain loss. `there`: loss over that
        of networks trained under the test condition. Each of these two `_near`, `_far`, and as `_ratio` near over far. `same_test`:
        loss over the median one of networks that were trained far away, but elsewhere, in the same test.
        """
        near, far, group = self.near[pairs.drawn], self.far[pairs.drawn], self.group[pairs.drawn]
        tested = far & (group[:, None] == group)
        result = {"home": _median(pairs.in_domain[near]) / _median(pairs.in_domain[far])}
        for name, values in (("own", pairs.log_ratio), ("there", pairs.log_excess)):
            for side, trained in (("near", near), ("far", far)):
                result[f"{name}_{side}"] = _median(np.exp(values[pairs.off & tested & trained[:, None]]))
            result[f"{name}_ratio"] = result[f"{name}_near"] / result[f"{name}_far"]
        from_near, from_far = (pairs.used & tested & trained[:, None] for trained in (near, far))
        usual = np.array([_median(pairs.loss[from_far[:, j], j]) for j in range(len(far))])
        return result | {"same_test": _median((pairs.loss / usual)[from_near])}


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def of_authors() -> list[Networks]:
    """Return our networks of the authors' study of the defocus, and theirs: trained at five defoci, zero at the least contrast."""
    ours = authors.scores("defocus")
    found = [("the authors' study, theirs", "theirs, as published", authors.published_defocus(), "loss")]
    if len(ours):
        errors = with_errors(ours)
        found = [
            ("the authors' study, ours", "theirs: cross-entropy of softmaxed outputs, less its floor", errors, "loss"),
            ("the authors' study, ours", LOSSES["wrong"], errors, "wrong"),
            *found,
        ]
    result = []
    for study, loss, scores, column in found:
        defocus = np.array(sorted(set(scores["test"])))
        names = [f"{d:g}" for d in defocus]
        ids = dict(zip(defocus.tolist(), names, strict=True))
        named = scores.select(
            pl.col("train").replace_strict(ids).alias("train_condition"),
            pl.col("test").replace_strict(ids).alias("test_condition"),
            "seed",
            column,
        )
        near = defocus == 0
        result.append(Networks(study, loss, square_of(named, names, column), near, ~near, np.zeros(len(names))))
    return result


def as_table(found: list[tuple[Networks, dict[str, Statistic]]]) -> str:
    """Return the statistics of several kinds of networks as a table."""
    header = [
        "networks",
        "loss",
        "in-domain loss, zero over elsewhere",
        "over its in-domain loss: trained at zero",
        "trained elsewhere",
        "over that of networks trained there: trained at zero",
        "trained elsewhere",
        "same test: trained at zero over trained elsewhere",
    ]
    columns = ("home", "own_near", "own_far", "there_near", "there_far", "same_test")
    return table(header, [[n.study, n.loss, *(str(values[c]) for c in columns)] for n, values in found])
