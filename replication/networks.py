"""Do the results depend on the network?"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.pairs import ZERO_DEFOCUS, Pairs
from replication.figures import draw_points
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.resampling import RESAMPLES, Statistic, measured, rank_correlation, with_percentiles

_BASE, _OPTIMISER = "defocus_sweep", "defocus_sweep-sgd"
_OTHERS = {
    "defocus_sweep-large": "U-Net, four times the weights",
    "defocus_sweep-resnet": "ResNet-encoder U-Net",
    "defocus_sweep-sgd": "U-Net as everywhere here, SGD",
}


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return how alike the loss matrices of different networks and optimisers are."""
    outcome = Outcome()
    base = studies[_BASE]
    rows, parts, figures = [_row("U-Net as everywhere here, Adam", base, None)], [], []
    for name, how in _OTHERS.items():
        if name not in studies:
            continue
        other = studies[name]

        agreement = _alike(base, other)
        figures.append((how, agreement))
        rows.append(_row(how, other, agreement))
        a, b = base.square.pairs, other.square.pairs
        used = a.off & b.off
        parts.append(pl.DataFrame({"group": how, "x": np.exp(a.log_ratio[used]), "y": np.exp(b.log_ratio[used])}))
    worst = min(figures, key=lambda f: f[1].value)
    outcome.text.append(
        f"The order of the pairs, by relative loss (loss divided by the network's in-domain loss), is shared: rank correlation with the U-Net's at least {worst[1]} ({worst[0]})."
    )
    outcome.text.append(
        "Median in-domain Dice and loss over conditions; relative loss when tested at zero defocus (median); agreement with the first row: rank correlation over pairs.\n\n"
        + table(["network", "networks", "in-domain Dice", "in-domain loss", "tested at zero", "agreement"], rows)
    )
    outcome.claims.append(
        Claim(
            "ours: the results do not depend on the network or the optimiser",
            "; ".join(f"{how}: rank correlation {agreement}" for how, agreement in figures),
            # Another optimiser alone says nothing of another network.
            judged(worst[1], above=0.7) if (set(_OTHERS) - {_OPTIMISER}) & set(studies) else "cannot tell",
        )
    )
    caption = "Each point is a pair of defoci."
    with outcome.figure(folder, "networks", caption, 5.4, 4.6) as made:
        ax = made.subplots()
        draw_points(pl.concat(parts), ax, "relative loss, U-Net", "relative loss, other network", log=True)
        ax.set_xscale("log")
        limits = [min(ax.get_xlim()[0], ax.get_ylim()[0]), max(ax.get_xlim()[1], ax.get_ylim()[1])]
        ax.plot(limits, limits, color="0.6", linewidth=0.8)
    return outcome


def _alike(base: StudyTables, other: StudyTables) -> Statistic:
    """Return the rank correlation of the relative loss, the same conditions drawn again for both studies."""
    rng = np.random.default_rng(0)
    a, b = base.square.pairs, other.square.pairs

    def correlation(drawn: np.ndarray) -> float:
        grid = np.ix_(drawn, drawn)
        used = (a.off & b.off)[grid]
        return rank_correlation(a.log_ratio[grid][used], b.log_ratio[grid][used])

    n = len(a.loss)
    return with_percentiles(correlation(np.arange(n)), [correlation(rng.integers(n, size=n)) for _ in range(RESAMPLES)])


def _row(how: str, study: StudyTables, agreement: Statistic | None) -> list[str]:
    own, zero = study.in_domain, np.abs(study.defocus) < ZERO_DEFOCUS

    def tested(pairs: Pairs) -> float:
        z = zero[pairs.drawn]
        used = pairs.off & ~z[:, None] & z
        return float(np.median(np.exp(pairs.log_ratio[used]))) if used.any() else float("nan")

    return [
        how,
        str(len(own)),
        f"{own['dice'].median():.3f}",
        f"{own['loss'].median():.3f}",
        str(measured(study.square, tested, "network", how)),
        "" if agreement is None else str(agreement),
    ]


EXPERIMENT = Experiment(
    "networks",
    "Other networks",
    "Everything here rests on one small U-Net. Does a larger one, another architecture or another optimiser give the same results?",
    (_BASE,),
    evaluate,
    extra=tuple(_OTHERS),
    needs_extra=True,
)
