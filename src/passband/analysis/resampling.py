"""Intervals for whatever is measured on all pairs of conditions: conditions and seeds are drawn again, and all is computed again."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.base.identity import seed_from
from passband.metrics.columns import differences

#: How often conditions and seeds are drawn again.
RESAMPLES = 500
# The share of drawings in which there has to be something to measure.
_ENOUGH = 0.5


@dataclass(frozen=True)
class Figure:
    """A measured number with its central 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it to two digits after the point."""
        return f"{_signed(self.value)} [{_signed(self.low)}, {_signed(self.high)}]"

    @property
    def is_known(self) -> bool:
        """Whether there was anything to measure, and often enough for an interval."""
        return bool(np.isfinite([self.value, self.low, self.high]).all())


def _signed(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


@dataclass(frozen=True)
class Pairs:
    """Every network on every condition, as arrays; a drawing of them repeats some conditions and lacks others.

    Attributes:
        loss: mean over seeds, shape [B, B], training conditions first; NaN where nothing was tested.
        features: shift metrics by name, shape [B, B].
        drawn: which condition each row and column is, shape [B].
    """

    loss: np.ndarray
    features: dict[str, np.ndarray]
    drawn: np.ndarray

    @cached_property
    def off(self) -> np.ndarray:
        """Pairs of different conditions that were tested, and whose own losses are known, bool, shape [B, B]."""
        known = np.isfinite(self.own)
        return (self.drawn[:, None] != self.drawn) & np.isfinite(self.loss) & known[:, None] & known

    @cached_property
    def own(self) -> np.ndarray:
        """Loss of each network under its own condition, shape [B]."""
        return np.diag(self.loss)

    @cached_property
    def log_ratio(self) -> np.ndarray:
        """Logarithm of the loss over the network's own, shape [B, B]."""
        return np.log(self.loss) - np.log(self.own)[:, None]

    @cached_property
    def log_excess(self) -> np.ndarray:
        """Logarithm of the loss over that of networks trained where this one is tested, shape [B, B]."""
        return np.log(self.loss) - np.log(self.own)


class Square:
    """The tables of a study in which every training condition is a test condition."""

    def __init__(self, scores: pl.DataFrame, shift: pl.DataFrame, score: str = "loss"):
        """Lay the tables out.

        Args:
            scores: a row per train condition, test condition and seed.
            shift: a row per train condition and test condition.
            score: column of scores.
        """
        self.names: list[str] = shift["train_condition"].unique(maintain_order=True).to_list()
        n, seeds = len(self.names), scores["seed"].unique().sort().to_list()
        place = {name: i for i, name in enumerate(self.names)}
        self.loss = np.full((n, n, len(seeds)), np.nan)
        rows = [
            scores[c].replace_strict(place, return_dtype=pl.Int64).to_numpy()
            for c in ("train_condition", "test_condition")
        ]
        self.loss[
            rows[0],
            rows[1],
            scores["seed"].replace_strict({s: i for i, s in enumerate(seeds)}, return_dtype=pl.Int64).to_numpy(),
        ] = scores[score].to_numpy()
        ordered = shift.with_columns(
            pl.col("train_condition", "test_condition").replace_strict(place, return_dtype=pl.Int64)
        ).sort("train_condition", "test_condition")
        self.features = {
            c: ordered[c].to_numpy().astype(float).reshape(n, n)
            for c in shift.columns
            if c not in ("train_condition", "test_condition")
        }
        self.features |= differences(self.features)

    @property
    def pairs(self) -> Pairs:
        """All pairs as they are."""
        with np.errstate(invalid="ignore"):
            return Pairs(_mean(self.loss), self.features, np.arange(len(self.names)))

    def drawn_again(self, rng: np.random.Generator) -> Pairs:
        """Return conditions drawn with replacement, each with seeds drawn with replacement."""
        n, _, seeds = self.loss.shape
        drawn = rng.integers(n, size=n)
        chosen = rng.integers(seeds, size=(n, 1, seeds))
        loss = np.take_along_axis(self.loss[drawn][:, drawn], np.broadcast_to(chosen, (n, n, seeds)), 2)
        square = np.ix_(drawn, drawn)
        return Pairs(_mean(loss), {name: f[square] for name, f in self.features.items()}, drawn)


def _mean(loss: np.ndarray) -> np.ndarray:
    known = np.isfinite(loss)
    count = known.sum(2)
    return np.where(count > 0, np.where(known, loss, 0).sum(2) / np.maximum(count, 1), np.nan)


def figure(value: float, drawn: Sequence[float]) -> Figure:
    """Return a number with the central 95 % of what it was when all was drawn again.

    Without an interval, NaN, if in more than half of the drawings there was nothing to measure.
    """
    finite = [v for v in drawn if np.isfinite(v)]
    low, high = np.percentile(finite, [2.5, 97.5]) if len(finite) >= _ENOUGH * len(drawn) > 0 else (np.nan, np.nan)
    return Figure(float(value), float(low), float(high))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation; NaN of fewer than three values, or where one does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b)[0])


def measured(squares: Square | Sequence[Square], statistic: Callable[..., float], *names: str) -> Figure:
    """Return a statistic of the pairs of one or several studies with its central 95 %.

    Args:
        squares: the studies; several are each drawn again on their own and given to `statistic` together.
        statistic: of Pairs, one argument a study.
        names: for the seed of the drawing.
    """
    several = [squares] if isinstance(squares, Square) else list(squares)
    rng = np.random.default_rng(seed_from("measured", *names))
    values = [statistic(*[s.drawn_again(rng) for s in several]) for _ in range(RESAMPLES)]
    return figure(statistic(*[s.pairs for s in several]), values)
