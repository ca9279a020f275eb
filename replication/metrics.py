"""Experiment 2: do σ and Δε predict the loss, and what does?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs, Target
from passband.figures import losses
from passband.metrics.registry import column
from replication import forest, judging
from replication.figures import draw_plane
from replication.outcome import Claim, Experiment, Outcome, StudyTables, in_plane, judged, table
from replication.resampling import Statistic, measured

_STUDIES = {
    "metrics": "all vary",
    "metrics_one_dose": "one dose",
    "metrics_corrected": "corrected microscope, one dose",
}
_SWEEP = "defocus_sweep"
_SOURCE, _PAIR, _TREES = ("sigma", "delta_epsilon"), "σ and Δε", "trees on many metrics"
# Cells of the plane with fewer pairs are ignored.
_CROWD = 5
# Chosen in advance: the source's, the trivial ones, and the best of the first ranking.
_CANDIDATES: dict[str, tuple[str, ...]] = {
    "mean": (),
    "σ and Δε": _SOURCE,
    "|Δdefocus|": ("defocus_difference_angstrom",),
    "Euclidean distance of coefficients": ("coefficient_distance",),
    "image power spectra, KL": ("spectrum_divergence",),
    "image power spectra, MMD": ("mmd",),
    "Δ ln dose": ("dose_difference",),
    "σ, Δε and Δ ln dose": (*_SOURCE, "dose_difference"),
    "signed σ": ("signed_overlap",),
    "rms Δχ and ε of both": ("phase_rms", "epsilon_train", "epsilon_test"),
    "ln SNR of the test and Δ ln dose": ("image_snr_test", "dose_difference"),
    "shared bits": ("shared_information",),
    "bits of the test and rms Δχ": ("channel_information_test", "phase_rms"),
}


@dataclass(frozen=True)
class _Row:
    """R² of a predictor: of ln loss neither condition seen, train condition unseen, in sample; then neither seen of other targets."""

    both: Statistic
    train: Statistic | None
    in_sample: Statistic | None
    ratio: Statistic
    excess: Statistic


@dataclass(frozen=True)
class _Study:
    """One study's pairs, and every predictor's figures and predictions."""

    pairs: Pairs
    rows: dict[str, _Row]
    predictions: dict[str, np.ndarray]
    best: str


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return R² of the source's predictor, the trivial ones and others, in sample and held out."""
    outcome = Outcome()
    shown = {name: how for name, how in _STUDIES.items() if name in studies}
    done = {name: _judged(studies[name]) for name in shown}

    def each(figure: Callable[[_Study], object]) -> str:
        return "; ".join(f"{figure(study)} ({shown[name]})" for name, study in done.items())

    outcome.text.append(
        f"R² of the logarithm of the loss, neither condition seen by the fit, of σ and Δε: {each(lambda s: s.rows[_PAIR].both)}. Best of the list: "
        f"{each(lambda s: _lead(s, 'both'))}. Of the excess loss (relative to networks trained under the test condition, so that the difficulty of the test condition cancels), σ and Δε: "
        f"{each(lambda s: s.rows[_PAIR].excess)}; the best: {each(lambda s: _lead(s, 'excess'))}. For scale, a model with one number for each training condition and one for each test "
        f"condition explains, in sample: {each(lambda s: f'{_additive(s.pairs):.2f}')}."
    )
    for name, how in {**shown, _SWEEP: "defocus sweep"}.items():
        pairs = studies[name].square.pairs
        linear = Fit(pairs, _SOURCE, "loss", linear=True).predictions()
        sample, both = (judging.r2(pairs, linear[kind], "loss") for kind in ("in_sample", "both"))
        outcome.claims.append(
            Claim(
                f"A linear model of σ and Δε explains the loss of the pairs (the target: R² above 0.7); {how}",
                f"R² in sample {sample}; neither condition seen {both}",
                judged(sample, above=0.7),
            )
        )
    outcome.claims += _more(done)
    outcome.claims.append(_smooth(studies["metrics_one_dose"]))
    outcome.text += [_page_table(how, done[name]) for name, how in shown.items()]
    _draw(done, folder, outcome)
    return outcome


def _judged(study: StudyTables) -> _Study:
    pairs = study.square.pairs
    rows, predictions = {}, {}
    targets: tuple[Target, ...] = ("log_loss", "log_ratio", "log_excess")
    for label, names in _CANDIDATES.items():
        if not pairs.varies(*names):
            continue
        own, ratio, excess = (Fit(pairs, names, t).predictions() for t in targets)
        rows[label] = _Row(
            judging.r2(pairs, own["both"], "log_loss"),
            judging.r2(pairs, own["train"], "log_loss"),
            judging.r2(pairs, own["in_sample"], "log_loss"),
            judging.r2(pairs, ratio["both"], "log_ratio"),
            judging.r2(pairs, excess["both"], "log_excess"),
        )
        predictions[label] = own["both"]
    usable = [f for f in forest.FEATURES if pairs.varies(f)]
    for label, features in (("σ and Δε, trees", list(_SOURCE)), (_TREES, usable)):
        made = {t: forest.predictions(pairs, features, t) for t in targets}
        of_loss, of_ratio, of_excess = (judging.r2(pairs, made[t], t) for t in targets)
        rows[label] = _Row(of_loss, None, None, of_ratio, of_excess)
        predictions[label] = made["log_loss"]
    scores = {n: Fit(pairs, (n,), "log_loss").both() for n in pairs.features if pairs.varies(n)}
    best = max(scores, key=lambda n: scores[n])
    return _Study(pairs, rows, predictions, f"{column(best).symbol} ({scores[best]:.2f})")


def _additive(pairs: Pairs) -> float:
    """Return R² in sample of ln loss ~ a number for each training condition + one for each test condition."""
    i, j = np.nonzero(pairs.used)
    y = pairs.target("log_loss")[i, j]
    n = len(pairs.used)
    x = np.zeros((len(y), 2 * n))
    x[np.arange(len(y)), i] = x[np.arange(len(y)), n + j] = 1
    fitted = x @ np.linalg.lstsq(x, y)[0]
    return float(1 - ((y - fitted) ** 2).sum() / ((y - y.mean()) ** 2).sum())


def _lead(study: _Study, target: str) -> str:
    label = max((k for k in study.rows if k != "mean"), key=lambda k: getattr(study.rows[k], target).value)
    return f"{label} {getattr(study.rows[label], target)}"


def _page_table(how: str, study: _Study) -> str:
    ordered = sorted(study.rows.items(), key=lambda item: -item[1].both.value)
    body = [
        [
            label
            + (" (knows no optics)" if all(column(name).trivial for name in _CANDIDATES.get(label, _SOURCE)) else ""),
            *("–" if f is None else str(f) for f in (row.both, row.train, row.in_sample, row.ratio, row.excess)),
        ]
        for label, row in ordered
    ]
    return (
        f"**{how.capitalize()}**, {int(study.pairs.used.sum())} pairs. R² of a quadratic fit (a metric, its square, products) unless it says trees, with the central 95 % when conditions are drawn again "
        "without fitting again. First three columns: logarithm of the loss. *Relative loss*: loss divided by the network's in-domain loss; *excess loss*: loss divided by that of networks trained under the test "
        f"condition; both with neither condition seen. Best single metric of the whole registry, chosen afterwards: {study.best}.\n\n"
        + table(
            [
                "predictor",
                "neither condition seen",
                "train condition unseen",
                "in sample",
                "relative loss",
                "excess loss",
            ],
            body,
        )
    )


def _more(done: dict[str, _Study]) -> list[Claim]:
    study = done["metrics"]
    dose = judging.gain(study.pairs, study.predictions[_PAIR], study.predictions["σ, Δε and Δ ln dose"], "log_loss")
    claims = [
        Claim(
            "ours: given σ and Δε, the dose does not matter",
            f"R² of ln loss gained by Δ ln dose, neither condition seen {dose}",
            "differs" if dose.low > 0.02 else "agrees" if dose.high < 0.05 else "cannot tell",
        )
    ]
    for name, study in done.items():
        how = _STUDIES[name]
        over = judging.gain(
            study.pairs, study.predictions["image power spectra, KL"], study.predictions[_PAIR], "log_loss"
        )
        claims.append(
            Claim(
                f"σ outperforms a statistical distance such as the KL divergence, here between the images' mean power spectra (the source asks why it would); {how}",
                f"R² of ln loss of σ and Δε less that of KL, neither condition seen {over}",
                judged(over, above=0.0),
            )
        )
    trees = "; ".join(f"{study.rows[_TREES].excess} ({_STUDIES[name]})" for name, study in done.items())
    return [
        *claims,
        Claim(
            "ours: with all metrics of transfer, dose and noise, the loss relative to networks trained there can be predicted (R² above 0.5)",
            f"trees, neither condition seen: {trees}",
            judged(done["metrics"].rows[_TREES].excess, above=0.5),
        ),
    ]


def _smooth(study: StudyTables) -> Claim:
    """Return how much of the relative loss is explained by the place in the plane of σ and Δε, in cells of 0.1 × 0.1."""

    def share(pairs: Pairs) -> float:
        used = pairs.off & np.isfinite(pairs.features["sigma"])
        cell = np.floor(pairs.features["sigma"][used] * 10) * 100 + np.floor(pairs.features["delta_epsilon"][used] * 10)
        y = pairs.log_ratio[used]
        _, index, count = np.unique(cell, return_inverse=True, return_counts=True)
        kept = count[index] >= _CROWD
        if not kept.any() or np.ptp(y[kept]) == 0:
            return float("nan")
        mean = np.bincount(index, y) / count
        return float(1 - ((y - mean[index])[kept] ** 2).sum() / ((y[kept] - y[kept].mean()) ** 2).sum())

    found = measured(study.square, share, "cells")
    return Claim(
        "The loss varies smoothly and predictably over the plane of σ and Δε (its place there says more than half); one dose",
        f"share of the variance of ln relative loss that lies between cells of 0.1 × 0.1 {found}",
        judged(found, above=0.5),
    )


def _draw(done: dict[str, _Study], folder: Path, outcome: Outcome) -> None:
    caption = "White: no pair of the study lies there. Dotted: where the source expects collapse (σ < 0.5, Δε < −0.2)."
    with outcome.figure(folder, "metrics_plane", caption, 10.4, 4.0 * len(done)) as made:
        axes = made.subplots(len(done), 2)
        for row, name in zip(axes, done, strict=True):
            draw_plane(in_plane(done[name].pairs), row[0], row[1])
            row[0].set_title(f"{row[0].get_title()} ({_STUDIES[name]})")
    caption = "Each point a pair of which the trees saw neither condition."
    with outcome.figure(folder, "metrics_predicted", caption, 3.6 * len(done), 3.8) as made:
        for ax, (name, study) in zip(made.subplots(1, len(done)), done.items(), strict=True):
            predicted = study.predictions[_TREES]
            known = study.pairs.used & np.isfinite(predicted)
            drawn = pl.DataFrame(
                {"loss": np.exp(study.pairs.target("log_loss")[known]), "predicted": np.exp(predicted[known])}
            ).with_columns(train_zero=pl.lit(False), test_zero=pl.lit(False))
            losses.draw_predicted(drawn, ax, f"{_TREES}\n{_STUDIES[name]}")
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.get_legend().remove()


EXPERIMENT = Experiment(
    "metrics",
    "What predicts the loss",
    "Two numbers from the contrast transfer function, σ and Δε, are claimed to predict how a network performs under another condition. Do they, when "
    "every aberration varies, on conditions that the fit has not seen? And what does better?",
    ("metrics", "metrics_one_dose", _SWEEP),
    evaluate,
    extra=("metrics_corrected",),
)
