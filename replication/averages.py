"""Means over cells of the plane of σ and Δε, beside the pairs in them: a smooth figure of means and a low R² of pairs go together."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FormatStrFormatter, NullLocator

from passband.analysis.pairs import Pairs
from passband.base.identity import seed_from
from passband.figures import style
from replication.resampling import Statistic, with_percentiles

#: Side of a cell, and how many pairs it needs to count.
SIDE, CROWD = 0.1, 5
_HALVINGS = 500


@dataclass(frozen=True)
class Cells:
    """The cells of the plane that hold enough pairs.

    Attributes:
        place: 1 and the mean σ and Δε of each cell, shape [C, 3].
        mean: of ln relative loss, shape [C].
        count: of pairs, shape [C].
        of_pair: which cell each pair lies in, shape [P].
        pairs: ln relative loss of each pair, shape [P].
    """

    place: np.ndarray
    mean: np.ndarray
    count: np.ndarray
    of_pair: np.ndarray
    pairs: np.ndarray

    @classmethod
    def of(cls, pairs: Pairs) -> "Cells":
        """Return the cells of all pairs."""
        return cls._chosen(*_laid_out(pairs)[:2])

    @classmethod
    def _chosen(cls, columns: np.ndarray, cell: np.ndarray) -> "Cells":
        """Return the cells of pairs with 1, σ, Δε and ln relative loss, shape [4, P], by the number of their cell, shape [P]."""
        count = np.bincount(cell)
        crowded = count >= CROWD
        means = np.stack([np.bincount(cell, c)[crowded] for c in columns], -1) / count[crowded, None]
        kept = crowded[cell]
        renumbered = (np.cumsum(crowded) - 1)[cell[kept]]
        return cls(means[:, :3], means[:, 3], count[crowded], renumbered, columns[3, kept])

    @property
    def plane(self) -> np.ndarray:
        """Coefficients of the linear model of the means, all cells alike."""
        return np.asarray(np.linalg.lstsq(self.place, self.mean)[0])


def of_means(pairs: Pairs) -> float:
    """Return R² of a linear model of the means, in sample."""
    cells = Cells.of(pairs)
    return _r2(cells.mean, cells.place @ cells.plane)


def other_half(pairs: Pairs) -> Statistic:
    """Return R² of the linear model of the means over one half of the conditions for the means over the other.

    The value is the median, and the interval the central 95 %, of random halvings: conditions that are drawn with replacement fill fewer cells.
    """
    columns, cell, ends = _laid_out(pairs)
    found, rng = [], np.random.default_rng(seed_from("halves"))
    for _ in range(_HALVINGS):
        half = rng.permutation(len(pairs.loss)) < len(pairs.loss) // 2
        train, test = half[ends]
        fitted, other = (Cells._chosen(columns[:, chosen], cell[chosen]) for chosen in (train & test, ~train & ~test))
        found.append(_r2(other.mean, other.place @ fitted.plane))
    return with_percentiles(float(np.median(found)), found)


def between(pairs: Pairs) -> float:
    """Return the share of the variance of pairs that lies between cells: the most that the place in the plane can say."""
    cells = Cells.of(pairs)
    return _r2(cells.pairs, cells.mean[cells.of_pair])


def of_pairs(pairs: Pairs) -> float:
    """Return R² of a linear model of single pairs, in sample."""
    columns, _, _ = _laid_out(pairs)
    x, y = columns[:3].T, columns[3]
    return _r2(y, x @ np.linalg.lstsq(x, y)[0])


def draw(pairs: Pairs, ax: Axes, title: str) -> None:
    """Draw means of cells, and behind them the pairs, over what the linear model of the means says of their cell."""
    cells = Cells.of(pairs)
    said = np.exp(cells.place @ cells.plane)
    jitter = np.exp(np.random.default_rng(0).uniform(-0.012, 0.012, len(cells.pairs)))
    ax.scatter(said[cells.of_pair] * jitter, np.exp(cells.pairs), s=2, color=style.GREY, alpha=0.25, linewidths=0,
               rasterized=True, label="pairs")  # fmt: skip
    size = 10 + 60 * np.sqrt(cells.count / cells.count.max())
    ax.scatter(
        said, np.exp(cells.mean), s=size, color=style.ORANGE, edgecolors="white", linewidths=0.5, label="means of cells"
    )
    ends = np.array([said.min() * 0.95, said.max() * 1.05])
    ax.plot(ends, ends, color="black", linewidth=0.8)
    ax.set(xscale="log", xlabel="relative loss, linear in σ and Δε", title=title)
    style.log_scale(ax)
    ax.xaxis.set_major_locator(FixedLocator([1, 1.5, 2, 2.5, 3, 4]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))


def _laid_out(pairs: Pairs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return 1, σ, Δε and ln relative loss of each pair, the number of its cell, and its row and column, shapes [4, P], [P], [2, P]."""
    used = pairs.off & np.isfinite(pairs.features["sigma"])
    sigma, delta, y = (v[used] for v in (pairs.features["sigma"], pairs.features["delta_epsilon"], pairs.log_ratio))
    across, up = (np.floor(v / SIDE).astype(int) for v in (sigma, delta))
    cell = (across - across.min()) * (np.ptp(up) + 1) + up - up.min()
    return np.stack([np.ones_like(y), sigma, delta, y]), cell, np.stack(np.nonzero(used))


def _r2(y: np.ndarray, said: np.ndarray) -> float:
    return (
        float(1 - ((y - said) ** 2).sum() / ((y - y.mean()) ** 2).sum()) if len(y) > 3 and np.ptp(y) else float("nan")
    )
