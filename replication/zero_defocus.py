"""Check 2: near zero defocus, in steps of 5 Å and for three values of C30."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.pairs import Pairs
from replication.figures import draw_bands
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.resampling import measured, rank_correlation

_STUDY = "zero_defocus"
# Distance from zero defocus, or from the least ε, up to which a condition is near; and from both, above which it is far [Å].
_NEAR, _FAR = 7.5, 35.0
# Fewer conditions near zero are not ranked.
_FEWEST = 5


class _Places:
    """Where each condition of the study lies: defocus, C30, ε, and the distances from zero defocus and from the least ε."""

    def __init__(self, study: StudyTables):
        by_name = {row["condition"]: row for row in study.conditions.to_dicts()}
        rows = [by_name[name] for name in study.square.names]
        self.defocus, self.c30, self.epsilon = (
            np.array([r[c] for r in rows]) for c in ("defocus_angstrom", "C30", "epsilon")
        )
        self.least = {}
        for value in np.unique(self.c30):
            own = self.c30 == value
            self.least[float(value)] = float(self.defocus[own][self.epsilon[own].argmin()])
        self.from_zero = np.abs(self.defocus)
        self.from_least = np.abs(self.defocus - np.array([self.least[v] for v in self.c30]))
        self.far = np.minimum(self.from_zero, self.from_least) >= _FAR


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return the two halves of the asymmetry, and whether zero defocus or the least ε causes them."""
    outcome = Outcome()
    study = studies[_STUDY]
    at = _Places(study)

    def same(pairs: Pairs) -> np.ndarray:
        c = at.c30[pairs.drawn]
        return pairs.off & (c[:, None] == c)

    def tested(near: np.ndarray, share: float) -> Callable[[Pairs], float]:
        """The relative loss where `near`, of networks trained far away: the quantile over pairs."""

        def statistic(pairs: Pairs) -> float:
            used = same(pairs) & at.far[pairs.drawn][:, None] & near[pairs.drawn]
            return float(np.quantile(np.exp(pairs.log_ratio[used]), share)) if used.any() else float("nan")

        return statistic

    def order(pairs: Pairs, values: np.ndarray) -> float:
        """Rank correlation, within each C30, of a value near zero with the loss there of networks trained far away."""
        far, c = at.far[pairs.drawn], at.c30[pairs.drawn]
        used = same(pairs) & far[:, None] & ~far
        own = []
        for value in at.least:
            columns = np.flatnonzero(used.any(0) & (c == value))
            if len(np.unique(pairs.drawn[columns])) >= _FEWEST:
                loss = [np.log(pairs.loss[used[:, j], j]).mean() for j in columns]
                own.append(rank_correlation(values[pairs.drawn][columns], np.array(loss)))
        return float(np.mean(own)) if own else float("nan")

    def trained_near(pairs: Pairs) -> dict[str, float]:
        near, far = (at.from_least < _NEAR)[pairs.drawn], at.far[pairs.drawn]
        usual = float(np.nanmedian(pairs.in_domain[far])) if far.any() else float("nan")
        elsewhere = same(pairs) & far
        from_near, from_far = elsewhere & near[:, None], elsewhere & far[:, None]
        if not from_near.any() or not from_far.any():
            return dict.fromkeys(("own", "spread", "against"), float("nan"))
        return {
            "own": float(np.nanmedian(pairs.in_domain[near])) / usual,
            "spread": float(np.median(np.exp(pairs.log_ratio[from_near]))),
            "against": float(np.median(pairs.loss[from_near]) / np.median(pairs.loss[from_far])),
        }

    near_zero, near_least = at.from_zero < _NEAR, at.from_least < _NEAR
    at_zero, at_least = (measured(study.square, tested(n, 0.5), "tested") for n in (near_zero, near_least))
    best_zero, best_least = (measured(study.square, tested(n, 0.1), "tested") for n in (near_zero, near_least))
    orders = {
        name: measured(study.square, lambda p, v=values: order(p, v), "order")
        for name, values in (("ε", -at.epsilon), ("zero", -at.from_zero), ("least", -at.from_least))
    }
    better = measured(study.square, lambda p: order(p, -at.epsilon) - order(p, -at.from_zero), "order")
    own, spread, against = (
        measured(study.square, lambda p, k=key: trained_near(p)[k], "trained") for key in ("own", "spread", "against")
    )
    places = ", ".join(f"{d:+.0f} Å for C30 {v / 1e4:+.0f} µm".replace("-", "−") for v, d in at.least.items())
    outcome.text.append(
        f"ε is least at {places}. Networks trained {_FAR:g} Å or more from both places have {at_least.value:.1f} times their in-domain loss in the median when "
        f"tested within {_NEAR:g} Å of the least ε, and {at_zero.value:.1f} times when tested within {_NEAR:g} Å of zero defocus. Over the conditions "
        f"between, the loss follows −ε with rank correlation {orders['ε']}, closeness to the least ε with {orders['least']}, closeness to zero defocus with {orders['zero']}."
    )
    outcome.claims += [
        Claim(
            "Tested near zero defocus, networks fail whatever they were trained on (more than twice their in-domain loss)",
            f"relative loss within {_NEAR:g} Å of zero, median {at_zero}, best tenth {best_zero}",
            judged(best_zero, above=2.0),
        ),
        Claim(
            "ours: tested near the least ε, networks fail whatever they were trained on",
            f"relative loss within {_NEAR:g} Å of the least ε, median {at_least}, best tenth {best_least}",
            judged(best_least, above=2.0),
        ),
        Claim(
            "ours: the loss near zero follows ε, not the distance from zero defocus",
            f"rank correlation with −ε {orders['ε']}, with closeness to zero {orders['zero']}; difference {better}. ε and the distance from "
            f"its least ({orders['least']}) cannot be told apart",
            judged(better, above=0.0),
        ),
        Claim(
            "Trained near zero defocus (here: near the least ε), a network has a high in-domain loss",
            f"in-domain loss relative to that of networks trained far away {own}",
            judged(own, above=1.0),
        ),
        Claim(
            "Trained near zero defocus (here: near the least ε), a network generalises broadly: no worse far away than networks that were trained far away and tested under another condition there",
            f"ratio of the median losses far away {against}; loss there relative to its in-domain loss, which is high {spread}",
            judged(against, below=1.0),
        ),
    ]
    _curves(study, at, folder, outcome)
    rows = [
        [f"{v / 1e4:+.0f}", f"{d:+.0f}", f"{e:.3f}", f"{o:.3f}", f"{a:.3f}", f"{b:.3f}"]
        for v, d, e, o, a, b in _by_condition(study, at)
    ]
    outcome.text.append(
        "Each condition: ε, in-domain loss, the median loss there of networks trained far away, and the median loss far away of networks trained there.\n\n"
        + table(
            ["C30 [µm]", "defocus [Å]", "ε", "in-domain loss", "tested here", "trained here"],
            [[cell.replace("-", "−") for cell in row] for row in rows],
        )
    )
    return outcome


def _by_condition(study: StudyTables, at: _Places) -> list[tuple[float, ...]]:
    pairs = study.square.pairs
    result: list[tuple[float, ...]] = []
    for i in range(len(at.defocus)):
        others = at.far & (at.c30 == at.c30[i]) & (np.arange(len(at.defocus)) != i)
        here, there = np.nanmedian(pairs.loss[others, i]), np.nanmedian(pairs.loss[i, others])
        result.append((at.c30[i], at.defocus[i], at.epsilon[i], pairs.in_domain[i], float(here), float(there)))
    return result


def _curves(study: StudyTables, at: _Places, folder: Path, outcome: Outcome) -> None:
    pairs, far = study.square.pairs, np.abs(at.defocus) >= 100
    caption = "Solid line: zero defocus; dashed: the least ε. Far away: 100 Å or more; bands: the range over those conditions."
    with outcome.figure(folder, "zero_defocus", caption, 3.6 * len(at.least), 3.8) as made:
        axes = made.subplots(1, len(at.least), sharey=True, squeeze=False)[0]
        for ax, (value, lowest) in zip(axes, at.least.items(), strict=True):
            rows, others = [], far & (at.c30 == value)
            for i in np.flatnonzero((at.c30 == value) & ~far):
                for group, losses in (
                    ("tested here, trained far away", pairs.loss[others, i]),
                    ("trained and tested here", pairs.loss[i, i : i + 1]),
                    ("trained here, tested far away", pairs.loss[i, others]),
                ):
                    known = losses[np.isfinite(losses)]
                    if len(known):
                        rows.append(
                            {"group": group, "x": at.defocus[i], "y": float(np.median(known)), "low": float(known.min()), "high": float(known.max())}
                        )  # fmt: skip
            draw_bands(
                pl.DataFrame(rows).sort("group"), ax, "defocus [Å]", "loss" if ax is axes[0] else "", log=(False, True)
            )
            ax.axvline(0, color="0.5", linewidth=0.7)
            ax.axvline(lowest, color="0.5", linewidth=0.9, linestyle="--")
            ax.set_title(f"C30 = {value / 1e4:+.0f} µm".replace("-", "−"))


EXPERIMENT = Experiment(
    "zero_defocus",
    "Near zero defocus",
    "At zero defocus a corrected microscope shows hardly any contrast. Do networks fail there whatever they were trained on, do networks "
    "trained there generalise, and does zero defocus matter or the condition that transfers least?",
    (_STUDY,),
    evaluate,
)
