"""Check 1: another specimen instead of another condition."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from passband.base.identity import seed_from
from passband.figures import matrix
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.resampling import RESAMPLES, Statistic, rank_correlation, with_percentiles

_STUDY = "structures"
# With fewer different families or conditions in a drawing, a fit would have too little to go by.
_FEWEST = 3
_FLAT = ("sigma", "delta_epsilon")
_LATTICE = ("sigma_structure_factor", "delta_epsilon_structure_factor")


@dataclass(frozen=True)
class _Table:
    """Losses as [family, condition, family, condition], trained on first; a drawing repeats families and conditions.

    Attributes:
        loss: mean over seeds.
        features: shift metrics by name.
        families: which family each is, shape [A].
        conditions: which condition each is, shape [C].
    """

    loss: np.ndarray
    features: dict[str, np.ndarray]
    families: np.ndarray
    conditions: np.ndarray

    def drawn(self, a: np.ndarray, c: np.ndarray) -> "_Table":
        grid = np.ix_(a, c, a, c)
        return _Table(
            self.loss[grid], {k: v[grid] for k, v in self.features.items()}, self.families[a], self.conditions[c]
        )

    @property
    def in_domain(self) -> np.ndarray:
        """Loss of networks tested on the specimens and condition they were trained on, shape [A, C]."""
        a, c = np.indices(self.loss.shape[:2])
        return self.loss[a, c, a, c]

    @property
    def excess(self) -> np.ndarray:
        """Logarithm of the loss over that of networks trained on what these are tested on."""
        return np.log(self.loss) - np.log(self.in_domain)

    @property
    def same_family(self) -> np.ndarray:
        same = self.families[:, None] == self.families
        return np.broadcast_to(same[:, None, :, None], self.loss.shape)

    @property
    def same_condition(self) -> np.ndarray:
        same = self.conditions[:, None] == self.conditions
        return np.broadcast_to(same[None, :, None, :], self.loss.shape)


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return how much of the loss is due to the specimen and how much to the condition, and what predicts each."""
    outcome = Outcome()
    names, whole = _laid_out(studies[_STUDY])
    family = _measured(whole, lambda t: _share(t, (1, 3)))
    condition = _measured(whole, lambda t: _share(t, (0, 2)))
    within = _measured(whole, lambda t: _order(t, t.same_family))
    across = _measured(whole, lambda t: _order(t, ~t.same_family))
    between = _measured(whole, lambda t: _explained(t, ~t.same_family, _FLAT))
    lattice = _measured(whole, lambda t: _explained(t, ~t.same_family, _LATTICE) - _explained(t, ~t.same_family, _FLAT))
    images = _measured(whole, _images)
    ratio = _measured(whole, lambda t: _median(np.exp(t.excess[~t.same_family & t.same_condition])))
    optics = _measured(whole, lambda t: _median(np.exp(t.excess[t.same_family & ~t.same_condition])))
    worst = float(np.nanmax(np.exp(whole.excess[~whole.same_family & whole.same_condition])))
    outcome.text.append(
        f"Under the same condition (σ = 1, Δε = 0) a network trained on another family of specimens has {ratio.value:.1f} times the loss in the "
        f"median of one trained on this family, and up to {worst:.0f} times; one trained on this family at another of the study's defoci has "
        f"{optics.value:.1f} times the loss. Of the variance of that ratio's logarithm {family.value:.0%} lies between pairs of families, and {condition.value:.0%} "
        "between pairs of defoci."
    )
    outcome.claims += [
        Claim(
            "Metrics of the transfer do not predict the loss under a change of the specimen",
            f"R² in sample of σ and Δε over all pairs of different families {between} (they cannot see the specimen); within a family {within}",
            judged(between, below=0.3),
        ),
        Claim(
            "ours: once the pair of families is known, σ and Δε tell between families what they tell within one",
            f"R² in sample about the mean of each pair of families, different defoci: between families {across}, within {within}",
            judged(_measured(whole, lambda t: _order(t, ~t.same_family) - _order(t, t.same_family)), above=-0.1),
        ),
        Claim(
            "Weighting the transfer by a lattice's structure factor does not help (supplemental figure 7; here by gold's for all families)",
            f"R² in sample gained over the flat weight, different families {lattice}",
            judged(lattice, below=0.05),
        ),
        Claim(
            "ours: another specimen costs more than another defocus",
            f"loss over that of networks trained on what is tested: another family, same defocus {ratio}; same family, another defocus {optics}; "
            f"shares of the variance: families {family}, defoci {condition}",
            "agrees" if ratio.low > optics.high else "differs" if ratio.high < optics.low else "cannot tell",
        ),
        Claim(
            "ours: under the same condition, a distance between the images predicts the loss on another specimen",
            f"rank correlation of the images' MMD with the loss over that of networks trained there {images}",
            judged(images, above=0.3),
        ),
    ]  # fmt: skip
    _draw(names, whole, folder, outcome)
    excess = np.exp(whole.excess)
    rows = [
        [a, f"{np.nanmean(whole.in_domain[i]):.3f}", *[f"{_median(excess[i, c, j, c]):.1f}" for j in range(len(names))]]
        for i, a in enumerate(names)
        for c in [np.arange(excess.shape[1])]
    ]
    outcome.text.append(
        "Loss relative to that of networks trained on the test specimens, same defocus, median over defoci; rows: trained on, columns: tested on.\n\n"
        + table(["", "in-domain loss", *names], rows)
    )
    return outcome


def _laid_out(study: StudyTables) -> tuple[list[str], _Table]:
    square = study.square
    names = list(dict.fromkeys(name.split("/")[0] for name in square.names))
    shape = (len(names), len(square.names) // len(names)) * 2
    pairs = square.pairs
    features = {k: v.reshape(shape) for k, v in pairs.features.items()}
    return names, _Table(pairs.loss.reshape(shape), features, np.arange(shape[0]), np.arange(shape[1]))


def _measured(whole: _Table, statistic: Callable[[_Table], float]) -> Statistic:
    """Return a statistic with its interval from drawing families and conditions again."""
    rng = np.random.default_rng(seed_from("structures"))
    n, m = whole.loss.shape[:2]
    drawn = [whole.drawn(rng.choice(np.arange(n), size=n), rng.choice(np.arange(m), size=m)) for _ in range(RESAMPLES)]
    return with_percentiles(statistic(whole), [statistic(t) for t in drawn])


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _share(t: _Table, axes: tuple[int, int]) -> float:
    """Return the share of the variance of the excess that lies between means over two axes."""
    used = np.isfinite(t.excess) & ~(t.same_family & t.same_condition)
    if not used.any():
        return float("nan")
    y = np.where(used, t.excess, 0)
    count, centre = used.sum(axes), y.sum() / used.sum()
    mean = y.sum(axes) / np.maximum(count, 1)
    return float((count * (mean - centre) ** 2).sum() / (used * (y - centre) ** 2).sum())


def _explained(t: _Table, used: np.ndarray, names: tuple[str, ...], *, about_pairs: bool = False) -> float:
    """Return R² in sample of a quadratic fit of the excess to some metrics; or of what is left of it about each pair of families' mean."""
    used = used & np.isfinite(t.excess)
    y = np.where(used, t.excess, 0)
    if about_pairs:
        y = y - y.sum((1, 3), keepdims=True) / np.maximum(used.sum((1, 3), keepdims=True), 1)
    y, columns = y[used], [t.features[name][used] for name in names]
    few = min(len(np.unique(t.conditions)), len(np.unique(t.families))) < _FEWEST
    if few or len(y) < 10 or np.ptp(y) == 0:
        return float("nan")
    x = np.column_stack([np.ones(len(y)), *columns, *[a * b for i, a in enumerate(columns) for b in columns[i:]]])
    fitted = x @ np.linalg.lstsq(x, y)[0]
    return float(1 - ((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _order(t: _Table, used: np.ndarray) -> float:
    return _explained(t, used & ~t.same_condition, _FLAT, about_pairs=True)


def _images(t: _Table) -> float:
    used = ~t.same_family & t.same_condition & np.isfinite(t.excess)
    return rank_correlation(t.features["mmd"][used], t.excess[used])


def _draw(names: list[str], whole: _Table, folder: Path, outcome: Outcome) -> None:
    excess, c = np.exp(whole.excess), np.arange(whole.loss.shape[1])
    rows = [
        {"train_label": a, "test_label": b, "loss": _median(excess[i, c, j, c])}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]
    caption = "Trained on (rows), tested on (columns), at the same defocus, median over defoci. The transfer is the same for all of these."
    with outcome.figure(folder, "structures_matrix", caption, 6.8, 5.8) as made:
        ax = made.subplots()
        matrix.draw(pl.DataFrame(rows), ax, "loss")
        ax.set_title("Loss relative to networks trained on the test specimens")


EXPERIMENT = Experiment(
    "structures",
    "Another specimen",
    "The transfer function knows the microscope and nothing of the specimen. How does a network perform on another element, crystal structure, size or "
    "film, and how much of the loss is due to the specimen?",
    (_STUDY,),
    evaluate,
)
