"""Bootstrap intervals of statistics of all pairs: conditions and seeds are resampled."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.stats import spearmanr

from passband.analysis.pairs import Pairs, central_95, mean_over_seeds
from passband.base.identity import seed_from

#: Number of bootstrap samples.
RESAMPLES = 500


@dataclass(frozen=True)
class Statistic:
    """A statistic with its central 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Write it to two digits after the point."""
        return f"{_signed(self.value)} [{_signed(self.low)}, {_signed(self.high)}]"

    @property
    def is_known(self) -> bool:
        """Whether the statistic and its interval are defined."""
        return bool(np.isfinite([self.value, self.low, self.high]).all())


def _signed(value: float) -> str:
    return "–" if not np.isfinite(value) else f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def with_percentiles(value: float, drawn: Sequence[float]) -> Statistic:
    """Return a statistic with the central 95 % of its bootstrap samples (see `central_95`)."""
    return Statistic(float(value), *central_95(drawn))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation; NaN of fewer than three values, or where one does not vary."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(spearmanr(a, b)[0])


class Tested(Protocol):
    """Every network on every condition."""

    @property
    def loss(self) -> np.ndarray:
        """Of every seed, shape [B, B, seeds]."""

    @property
    def features(self) -> Mapping[str, np.ndarray]:
        """Shift metrics by name, shape [B, B]."""

    @property
    def pairs(self) -> Pairs:
        """Mean over seeds."""


def drawn_again(square: Tested, rng: np.random.Generator) -> Pairs:
    """Return conditions drawn with replacement, each with seeds drawn with replacement."""
    n, seeds = len(square.loss), square.loss.shape[2]
    drawn = rng.integers(n, size=n)
    chosen = rng.integers(seeds, size=(n, 1, seeds))
    loss = np.take_along_axis(square.loss[drawn][:, drawn], np.broadcast_to(chosen, (n, n, seeds)), 2)
    cells = np.ix_(drawn, drawn)
    return Pairs(mean_over_seeds(loss), {name: f[cells] for name, f in square.features.items()}, drawn)


def measured(squares: Tested | Sequence[Tested], statistic: Callable[..., float], *names: str) -> Statistic:
    """Return a statistic of the pairs of one or several studies with its central 95 %.

    Args:
        squares: the studies; several are resampled independently and passed to `statistic` together.
        statistic: of Pairs, one argument a study.
        names: for the seed of the resampling.
    """
    return measured_each(squares, {"": statistic}, *names)[""]


def measured_each(
    squares: Tested | Sequence[Tested], statistics: Mapping[str, Callable[..., float]], *names: str
) -> dict[str, Statistic]:
    """Return several statistics, as `measured` does one, all of the same resampled conditions."""
    return measured_together(squares, lambda *pairs: {key: f(*pairs) for key, f in statistics.items()}, *names)


def measured_together(
    squares: Tested | Sequence[Tested], statistics: Callable[..., dict[str, float]], *names: str
) -> dict[str, Statistic]:
    """Return several statistics that one function computes, as `measured` does one, all of the same resampled conditions."""
    several = list(squares) if isinstance(squares, Sequence) else [squares]
    rng = np.random.default_rng(seed_from("measured", *names))
    drawn = [statistics(*[drawn_again(s, rng) for s in several]) for _ in range(RESAMPLES)]
    whole = statistics(*[s.pairs for s in several])
    return {name: with_percentiles(value, [d[name] for d in drawn]) for name, value in whole.items()}
