"""Experiment 1: trained at one defocus, tested at another."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.pairs import ZERO_DEFOCUS, Pairs, Target
from passband.figures import matrix, style
from replication.denominators import square_of, with_errors
from replication.figures import draw_bands
from replication.judging import ceiling
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.resampling import Statistic, measured, measured_together, rank_correlation

_SWEEP, _FINE = "defocus_sweep", "defocus_fine"
_TARGETS: dict[Target, str] = {
    "log_ratio": "loss over in-domain loss",
    "log_excess": "loss over that of networks trained there",
}


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return the correlation of |Δdefocus| and loss, and how networks perform at the opposite defocus."""
    outcome = Outcome()
    sweep = studies[_SWEEP]
    defocus = sweep.defocus
    zero = np.abs(defocus) < ZERO_DEFOCUS

    def away(pairs: Pairs) -> np.ndarray:
        return pairs.off & ~zero[pairs.drawn][:, None] & ~zero[pairs.drawn]

    def explained(pairs: Pairs) -> dict[str, float]:
        """Rank correlation and R² of a line of |Δdefocus| with both relative losses, over all pairs and without zero defocus."""
        found = {}
        for name, used in (("all", pairs.off), ("away", away(pairs))):
            gap = pairs.features["defocus_difference_angstrom"][used]
            for target in _TARGETS:
                values = pairs.target(target)[used]
                found[f"rank {name} {target}"] = rank_correlation(gap, values)
                varies = len(gap) > 2 and np.ptp(gap) > 0
                found[f"R² {name} {target}"] = float(np.corrcoef(gap, values)[0, 1] ** 2) if varies else float("nan")
        return found

    def mirrored(pairs: Pairs) -> float:
        """The loss at the opposite defocus relative to that of pairs equally far apart, mean of both directions."""
        d, gap = defocus[pairs.drawn], pairs.features["defocus_difference_angstrom"]
        # How hard either condition is cancels between the two directions.
        both, used = (pairs.log_excess + pairs.log_excess.T) / 2, away(pairs)
        opposite = used & (np.abs(d[:, None] + d) < ZERO_DEFOCUS)
        found = []
        for distance in np.unique(gap[opposite]):
            alike = used & ~opposite & (np.abs(gap - distance) < ZERO_DEFOCUS)
            if alike.any():
                found.append(both[opposite & (np.abs(gap - distance) < ZERO_DEFOCUS)].mean() - both[alike].mean())
        return float(np.exp(np.mean(found))) if found else float("nan")

    def opposite(pairs: Pairs) -> float:
        d = defocus[pairs.drawn]
        used = away(pairs) & (np.abs(d[:, None] + d) < ZERO_DEFOCUS)
        return float(np.exp(((pairs.log_excess + pairs.log_excess.T) / 2)[used].mean())) if used.any() else float("nan")

    distance = measured_together(sweep.square, explained, "distance")
    everywhere, without = (distance[f"rank {name} log_ratio"] for name in ("all", "away"))
    against, across = measured(sweep.square, mirrored, "mirrored"), measured(sweep.square, opposite, "opposite")
    grows = measured(sweep.square, lambda p: float((np.exp(p.log_ratio[p.off]) > 1).mean()), "grows")
    # Some conditions are easier than others, so a network is also compared with those trained at the test condition.
    behind = measured(sweep.square, lambda p: float((p.loss > p.in_domain)[p.off].mean()), "behind")
    outcome.text.append(
        f"At its training defocus the median network reaches Dice {sweep.in_domain['dice'].median():.3f}. In {behind.value:.0%} of the pairs a network has a higher loss than "
        f"one trained at the test defocus, in {grows.value:.0%} a higher one than at its training defocus, and the loss grows with distance: rank correlation of "
        f"|Δdefocus| with the relative loss (loss divided by the network's in-domain loss) {everywhere} over all pairs, {without} without zero defocus. Distance alone "
        f"explains {distance['R² all log_ratio'].value:.0%} of the variance of its logarithm (the noise between networks allows {ceiling(sweep.square.loss, 'log_ratio'):.0%}): the place of the pair matters, too."
    )
    outcome.claims += [
        Claim(
            "Tested at another defocus, a network loses more than one trained there (the defocus confusion matrix)",
            f"share of pairs {behind}; more than at its training defocus {grows}; {len(sweep.square.names)} defoci, {sweep.square.loss.shape[2]} networks each",
            judged(behind, above=0.9),
        ),
        Claim(
            "The loss grows with the difference of defocus (rank correlation above 0.5)",
            f"rank correlation of |Δdefocus| with the relative loss {everywhere}; without zero defocus {without}; with the loss over that of networks trained there {distance['rank all log_excess']}",
            judged(everywhere, above=0.5),
        ),
        Claim(
            "A network generalises to the opposite defocus, where |T| is alike and the contrast reversed: better than to other conditions as far away",
            f"loss over that of networks trained there, −d and d both ways, × {across}; over that of other pairs as far apart × {against}",
            judged(against, below=1.0),
        ),
    ]
    _matrices(studies, folder, outcome)
    _distance(studies, folder, outcome)
    outcome.text += [
        _explained(distance, sweep, ~zero),
        _which_errors(sweep),
        "Test loss, mean over networks; rows: trained at [Å], columns: tested at [Å].\n\n"
        + _by_pair(defocus, [[f"{v:.3f}" for v in row] for row in sweep.square.pairs.loss]),
    ]
    return outcome


def _by_pair(defocus: np.ndarray, cells: list[list[str]]) -> str:
    names = [style.minus(f"{d:+.0f}") for d in defocus]
    return table(["", *names], [[name, *row] for name, row in zip(names, cells, strict=True)])


def _explained(distance: Mapping[str, Statistic], sweep: StudyTables, away: np.ndarray) -> str:
    """Return a table of what the distance explains of both relative losses, beside what the noise between seeds leaves."""
    loss = sweep.square.loss
    parts = {"all": ("all", loss), "away": ("neither at zero", loss[np.ix_(away, away)])}
    rows = [
        [words, pairs, str(distance[f"rank {key} {target}"]), str(distance[f"R² {key} {target}"]), f"{ceiling(part, target):.2f}"]
        for target, words in _TARGETS.items()
        for key, (pairs, part) in parts.items()
    ]  # fmt: skip
    return (
        "What |Δdefocus| explains: rank correlation, R² of a straight line (fitted to all these pairs), and its *ceiling*, the R² that the noise between networks leaves.\n\n"
        + table(["logarithm of", "pairs", "rank correlation", "R²", "ceiling"], rows)
    )


def _which_errors(sweep: StudyTables) -> str:
    scores = with_errors(sweep.scores)
    fp, fn = (square_of(scores, sweep.square.names, c).pairs.loss for c in ("fp_share", "fn_share"))
    cells = [[f"{a:.0%} / {b:.0%}" for a, b in zip(*rows, strict=True)] for rows in zip(fp, fn, strict=True)]
    zero = np.abs(sweep.defocus) < ZERO_DEFOCUS
    tested, trained = (np.ix_(~zero, zero), np.ix_(zero, ~zero))
    return (
        f"**Which errors?** Tested at zero, networks trained elsewhere miss {fn[tested].mean():.0%} of the particles' area and call film a particle over {fp[tested].mean():.0%} (means). Trained at zero and tested elsewhere they miss "
        f"{fn[trained].mean():.0%} and call film a particle over {fp[trained].mean():.0%}. False positives / false negatives over the particles' area, mean over networks; rows: trained at [Å], columns: tested at [Å].\n\n"
        + _by_pair(sweep.defocus, cells)
    )


def _matrices(studies: Mapping[str, StudyTables], folder: Path, outcome: Outcome) -> None:
    shown = [name for name in (_SWEEP, _FINE) if name in studies]
    caption = "Test loss; rows: trained at, columns: tested at. Mean over networks."
    with outcome.figure(folder, "defocus_matrix", caption, 6.4 * len(shown), 5.4) as made:
        for ax, name in zip(made.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            matrix.draw(studies[name].pairs, ax, "loss")


def _distance(studies: Mapping[str, StudyTables], folder: Path, outcome: Outcome) -> None:
    parts = []
    for name, label in ((_FINE, "steps of 12.5 Å"), (_SWEEP, "steps of 50 Å")):
        if name not in studies:
            continue
        pairs = studies[name].square.pairs
        zero = np.abs(studies[name].defocus) < ZERO_DEFOCUS
        for kind, used in (("neither at zero", ~zero[:, None] & ~zero), ("tested at zero", ~zero[:, None] & zero)):
            chosen = pairs.off & used
            rows = pl.DataFrame(
                {"x": pairs.features["defocus_difference_angstrom"][chosen], "ratio": np.exp(pairs.log_ratio[chosen])}
            )
            parts.append(
                rows.group_by("x")
                .agg(
                    y=pl.col("ratio").median(),
                    low=pl.col("ratio").quantile(0.1, "linear"),
                    high=pl.col("ratio").quantile(0.9, "linear"),
                )
                .with_columns(group=pl.lit(f"{kind}, {label}"))
            )
    caption = "Median over pairs with the central 80 % as a band."
    with outcome.figure(folder, "defocus_distance", caption, 6.4, 4.0) as made:
        draw_bands(pl.concat(parts), made.subplots(), "|Δdefocus| [Å]", "relative loss", log=(False, True))


EXPERIMENT = Experiment(
    "defocus_sweep",
    "Trained at one defocus, tested at another",
    "A network is trained on images taken at one defocus. How does it perform at another, and does the distance between the two predict it?",
    (_SWEEP,),
    evaluate,
    extra=(_FINE,),
)
