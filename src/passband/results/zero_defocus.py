"""Check 2: near zero defocus, in steps of 5 Å and for three values of C30."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.analysis.resampling import Pairs, measured
from passband.report import bands, style
from passband.results.outcome import Claim, Experiment, Outcome, StudyTables, judged, table

_STUDY = "zero_defocus"
# Conditions this close to zero defocus, or to the least ε, are near; beyond the second they are elsewhere [Å].
_NEAR, _ELSEWHERE = 7.5, 35.0


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return the two halves of the asymmetry, and whether zero defocus or the least ε is behind them."""
    found = Outcome()
    study = studies[_STUDY]
    by_name = {row["condition"]: row for row in study.conditions.to_dicts()}
    rows = [by_name[name] for name in study.square.names]
    defocus, c30, epsilon = (np.array([r[c] for r in rows]) for c in ("defocus_angstrom", "C30", "epsilon"))
    least = {value: float(defocus[c30 == value][epsilon[c30 == value].argmin()]) for value in np.unique(c30)}
    from_least = np.abs(defocus - np.array([least[v] for v in c30]))
    from_zero = np.abs(defocus)

    def test_column(distance: np.ndarray) -> Callable[[Pairs], float]:
        def statistic(pairs: Pairs) -> float:
            d, c = distance[pairs.drawn], c30[pairs.drawn]
            used = pairs.off & (d >= _ELSEWHERE)[:, None] & (d < _NEAR) & (c[:, None] == c)
            return float(np.median(np.exp(pairs.log_ratio[used]))) if used.any() else float("nan")

        return statistic

    def order(values: np.ndarray) -> Callable[[Pairs], float]:
        """Rank correlation, within each C30, of a test condition's value with the loss there of networks trained far away."""

        def statistic(pairs: Pairs) -> float:
            far, c = (np.minimum(from_zero, from_least) >= _ELSEWHERE)[pairs.drawn], c30[pairs.drawn]
            own = []
            for value in least:
                used = pairs.off & far[:, None] & ~far & (c[:, None] == value) & (c == value)
                columns = [j for j in range(len(c)) if used[:, j].any()]
                if len(columns) > 4:
                    loss = [np.log(pairs.loss[used[:, j], j]).mean() for j in columns]
                    own.append(spearmanr(values[pairs.drawn][columns], loss)[0])
            return float(np.mean(own)) if own else float("nan")

        return statistic

    def trained_near(pairs: Pairs, statistic: str) -> float:
        near, far = (from_least < _NEAR)[pairs.drawn], (from_least >= _ELSEWHERE)[pairs.drawn]
        c = c30[pairs.drawn]
        same = c[:, None] == c
        own_near, own_far = np.nanmedian(pairs.own[near]), np.nanmedian(pairs.own[far])
        if statistic == "own":
            return float(own_near / own_far)
        across = pairs.off & same & ~near
        rows_near, rows_far = across & near[:, None], across & far[:, None]
        if statistic == "spread":
            return float(np.median(np.exp(pairs.log_ratio[rows_near])))
        return float(np.median(pairs.loss[rows_near]) / np.median(pairs.loss[rows_far]))

    at_zero = measured(study.square, test_column(from_zero), "tested at zero")
    at_least = measured(study.square, test_column(from_least), "tested at least")
    by_epsilon = measured(study.square, order(-epsilon), "order", "epsilon")
    by_zero = measured(study.square, order(-from_zero), "order", "zero")
    by_least = measured(study.square, order(-from_least), "order", "least")
    better = measured(study.square, lambda p: order(-epsilon)(p) - order(-from_zero)(p), "order", "difference")
    own = measured(study.square, lambda p: trained_near(p, "own"), "trained", "own")
    spread = measured(study.square, lambda p: trained_near(p, "spread"), "trained", "spread")
    against = measured(study.square, lambda p: trained_near(p, "against"), "trained", "against")
    places = ", ".join(f"{d:+.0f} Å for C30 {v / 1e4:+.0f} µm".replace("-", "−") for v, d in least.items())
    found.text.append(
        f"ε is least at {places}. Networks trained at least {_ELSEWHERE:g} Å away lose {at_least.value:.1f} times their own when tested within "
        f"{_NEAR:g} Å of the least ε, and {at_zero.value:.1f} times when tested within {_NEAR:g} Å of zero defocus. Over the conditions near zero "
        f"the loss follows ε with rank correlation {by_epsilon} (negative ε, so positive means: less ε, more loss), the distance from the "
        f"least ε with {by_least}, and the distance from zero defocus with {by_zero}."
    )
    found.claims += [
        Claim(
            "Tested near zero defocus, networks fail whatever they were trained on (more than twice their own loss)",
            f"loss over own, tested within {_NEAR:g} Å of zero {at_zero}; of the least ε {at_least}",
            judged(at_least, above=2.0),
        ),
        Claim(
            "ours: it is the least ε that fails, not zero defocus itself",
            f"rank correlation of the loss with −ε {by_epsilon}, with closeness to zero {by_zero}; difference {better}",
            judged(better, above=0.0),
        ),
        Claim(
            "Trained near zero defocus, a network is poor under its own condition",
            f"own loss near the least ε over own loss elsewhere {own}",
            judged(own, above=1.0),
        ),
        Claim(
            "Trained near zero defocus, a network generalises broadly",
            f"loss elsewhere over own {spread}; over the loss there of networks trained elsewhere {against}",
            judged(spread, below=1.5),
        ),
    ]
    _curves(study, folder, found, defocus, c30, least)
    listed = [
        [
            f"{v / 1e4:+.0f}".replace("-", "−"),
            f"{d:+.0f}".replace("-", "−"),
            f"{e:.3f}",
            f"{o:.3f}",
            f"{a:.3f}",
            f"{b:.3f}",
        ]
        for v, d, e, o, a, b in _by_condition(study, defocus, c30, epsilon)
    ]
    found.text.append(
        "Each condition: ε, own loss, the median loss there of networks trained far away, and the median loss far away of networks trained there.\n\n"
        + table(["C30 [µm]", "defocus [Å]", "ε", "own loss", "tested here", "trained here"], listed)
    )
    return found


def _by_condition(
    study: StudyTables, defocus: np.ndarray, c30: np.ndarray, epsilon: np.ndarray
) -> list[tuple[float, ...]]:
    pairs = study.square.pairs
    far = np.abs(defocus) >= 100
    result: list[tuple[float, ...]] = []
    for i in range(len(defocus)):
        others = far & (c30 == c30[i]) & (np.arange(len(defocus)) != i)
        result.append(
            (
                c30[i],
                defocus[i],
                epsilon[i],
                pairs.own[i],
                float(np.median(pairs.loss[others, i])),
                float(np.median(pairs.loss[i, others])),
            )
        )
    return result


def _curves(
    study: StudyTables, folder: Path, found: Outcome, defocus: np.ndarray, c30: np.ndarray, least: dict[float, float]
) -> None:
    pairs = study.square.pairs
    far = np.abs(defocus) >= 100
    with style.figure(3.6 * len(least), 3.8) as made:
        axes = made.subplots(1, len(least), sharey=True, squeeze=False)[0]
        for ax, (value, lowest) in zip(axes, least.items(), strict=True):
            rows = []
            for i in np.flatnonzero((c30 == value) & ~far):
                others = far & (c30 == value)
                for group, losses in (
                    ("tested here, trained far away", pairs.loss[others, i]),
                    ("trained here, tested far away", pairs.loss[i, others]),
                    ("trained and tested here", pairs.loss[i, i : i + 1]),
                ):
                    rows.append(
                        {
                            "group": group,
                            "x": defocus[i],
                            "y": float(np.median(losses)),
                            "low": float(losses.min()),
                            "high": float(losses.max()),
                        }
                    )
            bands.draw(
                pl.DataFrame(rows).sort("group"), ax, "defocus [Å]", "loss" if ax is axes[0] else "", log=(False, True)
            )
            ax.axvline(0, color="0.5", linewidth=0.7)
            ax.axvline(lowest, color="0.5", linewidth=0.9, linestyle="--")
            ax.set_title(f"C30 = {value / 1e4:+.0f} µm".replace("-", "−"))
        style.save(made, folder, "zero_defocus", ("png",))
    found.figures.append(
        (
            "zero_defocus",
            "Solid line: zero defocus; dashed: the least ε. Bands: range over the conditions 100 Å or more away.",
        )
    )


EXPERIMENT = Experiment(
    "zero_defocus",
    "Near zero defocus",
    "At zero defocus a corrected microscope shows hardly any contrast. Do networks fail there whatever they have learnt, do networks that "
    "learnt there do well elsewhere, and is it zero defocus that matters or the condition that transfers least?",
    (_STUDY,),
    evaluate,
)
