"""Which metric predicts the loss? Every metric alone and every two of them, on held-out conditions."""

import itertools

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs, Square, Target, central_95
from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.metrics.registry import column

#: Conditions that transfer less than this share of the band count as near zero.
LOW_EPSILON = 0.15
#: Doses alike to this in their logarithm are similar (a factor of 1.5).
SIMILAR_DOSE = 0.405
#: How often conditions are drawn again for an interval.
RESAMPLES = 100
# Pairs of metrics that are kept.
_BEST = 12
# Fewer pairs of conditions than this say nothing.
_FEWEST = 30


def rank(scores: pl.DataFrame, shift: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each metric and the best pairs of metrics, subset of pairs and target, best first.

    Returns:
        predictor (metrics joined by ` + `), metrics (1 or 2), trivial, pairs (all, without_low_epsilon, similar_dose), target
        (loss, log_loss), n_pairs, spearman (of a single metric), r2_in_sample, r2_train (each train condition predicted
        by a fit to the others), r2_test (the same for test conditions), r2_both (each pair by a fit to pairs that share no
        condition with it), and low and high of the last three: central 95 % when conditions are drawn again with
        replacement and everything is fitted again; null where that is rarely possible. The form is quadratic: squares and
        products of the metrics too.

    Raises:
        BadInputError: if there are too few pairs of conditions.
    """
    pairs = Square(scores, shift).pairs
    if (count := int(pairs.used.sum())) < _FEWEST:
        raise BadInputError(
            f"has {count} tested pairs of different conditions, too few to rank metrics by; at least {_FEWEST} are needed, as 6 conditions make them",
            value=count,
            limit=_FEWEST,
            remedy="add conditions to the study",
        )
    parts = {"all": pairs}
    near_zero = pairs.features["epsilon_train"][:, 0] < LOW_EPSILON
    parts["without_low_epsilon"] = pairs.among(~near_zero[:, None] & ~near_zero)
    if "dose_difference" in pairs.features:
        parts["similar_dose"] = pairs.among(np.abs(pairs.features["dose_difference"]) < SIMILAR_DOSE)
    rows = []
    for name, part in parts.items():
        if name != "all" and (part.used.sum() == pairs.used.sum() or part.used.sum() < _FEWEST):
            continue
        for target in ("loss", "log_loss"):
            rows += _ranked(part, name, target)
    return pl.DataFrame(rows, infer_schema_length=None).sort(
        "pairs", "target", "r2_both", descending=[False, True, True]
    )


def _ranked(pairs: Pairs, name: str, target: Target) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    fits = {names: Fit(pairs, names, target) for names in [(), *((feature,) for feature in pairs.features)]}
    two: dict[tuple[str, ...], dict[str, float]] = {
        couple: Fit(pairs, couple, target).r2() for couple in itertools.combinations(pairs.features, 2)
    }
    # Leaving both conditions out takes a fit for every pair of conditions: only for pairs of metrics that may win.
    best = sorted(two, key=lambda names: -min(two[names]["r2_train"], two[names]["r2_test"]))[:_BEST]
    source = [names for names in two if set(names) == {"sigma", "delta_epsilon"}]
    fits |= {names: Fit(pairs, names, target) for names in dict.fromkeys([*best, *source])}
    for names, fit in fits.items():
        spearman = None
        if len(names) == 1 and np.ptp(values := pairs.feature(names[0])[pairs.used]):
            spearman = float(spearmanr(values, pairs.target(target)[pairs.used])[0])
        rows.append(
            {
                "predictor": " + ".join(names) or "mean",
                "metrics": len(names),
                "trivial": all(column(feature).trivial for feature in names),
                "pairs": name,
                "target": target,
                "n_pairs": int(pairs.used.sum()),
                "spearman": spearman,
                **_judged(fit),
            }
        )
    return rows


def _judged(fit: Fit) -> dict[str, float | None]:
    """Return r2_in_sample, and r2_train, r2_test and r2_both with _low and _high of their central 95 %."""
    result: dict[str, float | None] = {**fit.r2(), "r2_both": fit.both()}
    rng = np.random.default_rng(seed_from("ranking"))
    alive = np.flatnonzero(fit.pairs.used.any(1))
    # Conditions are drawn again and everything is fitted again.
    drawn = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.choice(alive, len(alive)), minlength=len(fit.pairs.used)).astype(float)
        drawn.append(fit.r2(times) | {"r2_both": fit.both(times)})
    for kind in ("r2_train", "r2_test", "r2_both"):
        low, high = central_95([r2[kind] for r2 in drawn])
        known = np.isfinite(low)
        result |= {f"{kind}_low": low if known else None, f"{kind}_high": high if known else None}
    return result
