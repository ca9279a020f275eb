"""Experiment 2: do σ and Δε predict the loss, and what does?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs, Target
from passband.figures import losses
from passband.files.tables import read_table
from passband.metrics.registry import column
from replication import averages, forest, judging
from replication.figures import draw_plane
from replication.outcome import Claim, Experiment, Outcome, StudyTables, in_plane, judged, table
from replication.predictor import LossTable, loaded
from replication.resampling import Statistic, Tested, measured_each, rank_correlation

_STUDIES = {
    "metrics": "all vary",
    "metrics_one_dose": "one dose",
    "metrics_corrected": "corrected microscope, one dose",
}
_SWEEP = "defocus_sweep"
_SOURCE, _PAIR, _TREES = ("sigma", "delta_epsilon"), "σ and Δε", "trees on many metrics"
# Studies of two seeds with conditions drawn alike, and a share where the film is invisible: what they are called, and whose noise they tell.
_TWO_SEEDS = {
    "predictor_one_dose": ("one dose, 128 conditions", ("metrics", "metrics_one_dose")),
    "predictor_corrected": ("corrected microscope, 128 conditions", ("metrics_corrected",)),
    "predictor_corrected_final": ("corrected microscope, 64 final conditions", ()),
}
_OF_ERRORS = {"sigma": "σ", "delta_epsilon": "Δε", "phase_rms": "rms Δχ", "film_excess": "film excess"}
# What the page of predictors calls the test of the law of textures on the pairs of a study.
_LAW = "law of textures"
_LAW_TESTS = {"metrics": "all vary, four folds"}
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
    """R² and rank correlation of a predictor, neither condition seen; of ln loss R² in sample, too."""

    both: Statistic
    rank: Statistic
    in_sample: Statistic | None
    ratio: Statistic
    excess: Statistic
    excess_rank: Statistic


@dataclass(frozen=True)
class _Study:
    """One study's pairs, every predictor's figures and predictions, and the largest R² that noise between seeds leaves of each target."""

    pairs: Pairs
    rows: dict[str, _Row]
    predictions: dict[str, np.ndarray]
    best: str
    ceilings: dict[Target, float]


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return R² of the source's predictor, the trivial ones and others, in sample and held out."""
    outcome = Outcome()
    shown = {name: how for name, how in _STUDIES.items() if name in studies}
    tables = studies["metrics"].paths.folder.parent
    two_seeds = loaded(tables, tuple(_TWO_SEEDS))
    done = {name: _judged(studies[name], _noise_of(name, two_seeds)) for name in shown}

    def each(figure: Callable[[_Study], object]) -> str:
        return "; ".join(f"{figure(study)} ({shown[name]})" for name, study in done.items())

    outcome.text.append(
        f"R² of the logarithm of the loss, neither condition seen by the fit, of σ and Δε: {each(lambda s: s.rows[_PAIR].both)}. Best of the list: "
        f"{each(lambda s: _lead(s, 'both'))}. Of the excess loss (relative to networks trained under the test condition), σ and Δε: "
        f"{each(lambda s: s.rows[_PAIR].excess)}; the best: {each(lambda s: _lead(s, 'excess'))}. Means over cells of the plane are smoother: see below."
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
    _tell_averages({**{how: studies[name].square for name, how in shown.items()}, **_named(two_seeds)}, done, outcome)
    outcome.text += _errors(loaded(tables, tuple(shown)))
    outcome.text.append(_read_tables(each))
    outcome.text += [_page_table(how, done[name], _law_row(tables, name)) for name, how in shown.items()]
    _draw(done, folder, outcome)
    return outcome


def _named(two_seeds: Mapping[str, LossTable]) -> dict[str, LossTable]:
    return {_TWO_SEEDS[name][0]: table for name, table in two_seeds.items()}


def _noise_of(name: str, two_seeds: Mapping[str, LossTable]) -> np.ndarray:
    """Return losses of several seeds that tell the noise between seeds of a study with one; none if no such study is there."""
    for other, (_, alike) in _TWO_SEEDS.items():
        if name in alike and other in two_seeds:
            return two_seeds[other].loss
    return np.full((2, 2, 1), np.nan)


def _judged(study: StudyTables, seeds: np.ndarray) -> _Study:
    pairs = study.square.pairs
    rows, predictions = {}, {}
    targets: tuple[Target, ...] = ("log_loss", "log_ratio", "log_excess")
    for label, names in _CANDIDATES.items():
        if not pairs.varies(*names):
            continue
        own, ratio, excess = (Fit(pairs, names, t).predictions() for t in targets)
        rows[label] = _Row(
            judging.r2(pairs, own["both"], "log_loss"),
            judging.rank(pairs, own["both"], "log_loss"),
            judging.r2(pairs, own["in_sample"], "log_loss"),
            judging.r2(pairs, ratio["both"], "log_ratio"),
            judging.r2(pairs, excess["both"], "log_excess"),
            judging.rank(pairs, excess["both"], "log_excess"),
        )
        predictions[label] = own["both"]
    usable = [f for f in forest.FEATURES if pairs.varies(f)]
    for label, features in (("σ and Δε, trees", list(_SOURCE)), (_TREES, usable)):
        made = {t: forest.predictions(pairs, features, t) for t in targets}
        of_loss, of_ratio, of_excess = (judging.r2(pairs, made[t], t) for t in targets)
        ranks = [judging.rank(pairs, made[t], t) for t in ("log_loss", "log_excess")]
        rows[label] = _Row(of_loss, ranks[0], None, of_ratio, of_excess, ranks[1])
        predictions[label] = made["log_loss"]
    scores = {n: Fit(pairs, (n,), "log_loss").both() for n in pairs.features if pairs.varies(n)}
    best = max(scores, key=lambda n: scores[n])
    loss = study.square.loss
    own = loss.shape[-1] > 1
    noise = {t: judging.noise(loss, t) / loss.shape[-1] if own else judging.noise(seeds, t) for t in targets}
    ceilings = {t: judging.left_by(pairs, t, variance) for t, variance in noise.items()}
    return _Study(pairs, rows, predictions, f"{column(best).symbol} ({scores[best]:.2f})", ceilings)


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


def _read_tables(each: Callable[[Callable[[_Study], object]], str]) -> str:
    """Return how to read the tables of predictors."""
    return (
        "**How to read the tables.** A predictor is a quadratic fit (a metric, its square, products) unless it says trees; intervals are the central 95 % when conditions are drawn again without fitting again. "
        "All columns but *in sample* are of pairs of which the fit saw neither condition. *R²*, *rank correlation* (Spearman's) and *in sample* are of the logarithm of the loss; *relative loss* is loss "
        "divided by the network's in-domain loss, *excess loss* by that of networks trained under the test condition. The *ceiling* is the R² that noise between seeds leaves. These studies have one seed; "
        "the variance between seeds is that of 128 conditions drawn alike, with two seeds each (`predictor_corrected`; `predictor_one_dose`, also where the dose varies, where it was not measured). "
        "A predictor that knows nothing ranks below zero: the mean without two conditions is low where theirs are high. "
        f"The [law of textures](predictor.md) was judged on the pairs of *all vary* (half of the conditions left out at a time, other studies in the fit), and otherwise on 64 other conditions each: R² "
        "on its page. For scale, a model with one number for each training condition and one for each test condition explains, in sample: "
        f"{each(lambda s: f'{_additive(s.pairs):.2f}')}."
    )


def _law_row(tables: Path, name: str) -> list[str] | None:
    """Return the row of the law of textures, if it was judged on this study."""
    path = tables / "predictor" / "judged.parquet"
    if name not in _LAW_TESTS or not path.is_file():
        return None
    rows = read_table(path).filter(pl.col("test") == _LAW_TESTS[name], pl.col("rule") == _LAW)
    r2 = [str(Statistic(*row)) for row in rows.select("r2", "low", "high").iter_rows()]
    ranks = [f"{rank:.2f}" for rank in rows["rank"]]
    return [f"[{_LAW}](predictor.md)", r2[0], ranks[0], "–", "–", r2[1], ranks[1]]


def _page_table(how: str, study: _Study, law: list[str] | None) -> str:
    ordered = sorted(study.rows.items(), key=lambda item: -item[1].both.value)
    body = [
        [
            label
            + (" (knows no optics)" if all(column(name).trivial for name in _CANDIDATES.get(label, _SOURCE)) else ""),
            *(
                "–" if f is None or not np.isfinite(f.value) else str(f)
                for f in (
                    row.both,
                    row.rank if label != "mean" else None,
                    row.in_sample,
                    row.ratio,
                    row.excess,
                    row.excess_rank if label != "mean" else None,
                )
            ),
        ]
        for label, row in ordered
    ]
    most = {t: "–" if np.isnan(c) else f"{c:.2f}" for t, c in study.ceilings.items()}
    ceiling = [most["log_loss"], "–", most["log_loss"], most["log_ratio"], most["log_excess"], "–"]
    header = [
        "predictor",
        "R²",
        "rank correlation",
        "in sample",
        "relative loss, R²",
        "excess loss, R²",
        "its rank correlation",
    ]
    return (
        f"**{how.capitalize()}**, {int(study.pairs.used.sum())} pairs. Best single metric of the whole registry, chosen afterwards: {study.best}.\n\n"
        + table(header, [*body, *([law] if law else []), ["ceiling: noise between seeds", *ceiling]])
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


def _tell_averages(tested: Mapping[str, Tested], done: Mapping[str, _Study], outcome: Outcome) -> None:
    """Tell how smooth the means over cells of the plane are, and how little that says of a pair."""
    statistics = {
        "means": averages.of_means,
        "between": averages.between,
        "pairs": averages.of_pairs,
    }
    found = {how: measured_each(study, statistics, "cells") for how, study in tested.items()}
    elsewhere, held_out, ceilings = {}, {}, {}
    for how, study in tested.items():
        elsewhere[how] = averages.other_half(study.pairs)
        fit = Fit(study.pairs, _SOURCE, "log_ratio", linear=True).predictions()
        held_out[how] = judging.r2(study.pairs, fit["both"], "log_ratio")
        ceilings[how] = judging.ceiling(study.loss, "log_ratio")
    ceilings |= {_STUDIES[name]: study.ceilings["log_ratio"] for name, study in done.items()}
    for how in (_STUDIES[name] for name in done):
        own = found[how]
        outcome.claims += [
            Claim(
                f"The loss varies smoothly over the plane of σ and Δε (a linear model of the means of cells of 0.1 × 0.1 explains the means over other conditions, R² above 0.5); {how}",
                f"R² of means of ln relative loss {own['means']}; over the other half of the conditions {elsewhere[how]}",
                judged(elsewhere[how], above=0.5),
            ),
            Claim(
                f"The loss varies predictably over the plane of σ and Δε (the cell says more than half of the variance of single pairs); {how}",
                f"share of the variance of ln relative loss that lies between cells of 0.1 × 0.1 {own['between']}",
                judged(own["between"], above=0.5),
            ),
        ]
    outcome.text.append(
        "**Means beside pairs.** The source shows means of ln(loss elsewhere / in-domain loss) over the plane. Cells of 0.1 × 0.1 with at least 5 pairs, and a linear model of σ and Δε: fitted to the means "
        "(each cell alike), to the means over one half of the conditions and tried on the means over the other half (median and central 95 % of 500 halvings), and fitted to single pairs. *Between cells* is the share of the "
        "variance of pairs that any function of the cell could explain. Where the means follow the model and little lies between cells, a smooth figure of means and a low R² of pairs are both true: averaging "
        "takes away what sets the pairs of a cell apart. For whoever has one network and one condition, the last columns count.\n\n"
        + table(
            ["study", "R² of means", "over other conditions", "between cells", "R² of pairs, in sample", "neither condition seen", "ceiling"],
            [
                [how, *map(str, (own["means"], elsewhere[how], own["between"], own["pairs"], held_out[how])), f"{ceilings[how]:.2f}"] for how, own in found.items()
            ],
        )
    )  # fmt: skip


def _errors(tables: Mapping[str, LossTable]) -> list[str]:
    """Return a paragraph on which error each metric tells of, if the studies are there."""
    if not tables:
        return []
    errors = {"fp": "false positives", "fn": "false negatives"}

    def correlation(name: str, error: str) -> Callable[[Pairs], float]:
        return lambda p: rank_correlation(np.nan_to_num(p.features[name])[p.off], p.features[error][p.off])

    found = {
        name: measured_each(study, {f"{m} {e}": correlation(m, e) for m in _OF_ERRORS for e in errors}, "errors", name)
        for name, study in tables.items()
    }
    rows = [
        [f"{symbol}, {words}", *(str(own[f"{m} {e}"]) for own in found.values())]
        for m, symbol in _OF_ERRORS.items()
        for e, words in errors.items()
    ]
    typical = "; ".join(
        f"{np.median(p.features['fp'][p.off]):.2f} and {np.median(p.features['fn'][p.off]):.2f} ({_STUDIES[name]})"
        for name, p in ((name, study.pairs) for name, study in tables.items())
    )
    return [
        "**Which error a metric tells of.** Rank correlation of a metric with false positives (film called particle) and false negatives (particle missed) over the particles' area, all pairs. "
        f"*Film excess*: the largest growth of the film's log power in any ring of spatial frequency from training to test. Medians of the two shares: {typical}.\n\n"
        + table(["metric, error", *(_STUDIES[name] for name in found)], rows)
    ]


def _draw(done: dict[str, _Study], folder: Path, outcome: Outcome) -> None:
    caption = "White: no pair of the study lies there. Dotted: where the source expects collapse (σ < 0.5, Δε < −0.2)."
    with outcome.figure(folder, "metrics_plane", caption, 10.4, 4.0 * len(done)) as made:
        axes = made.subplots(len(done), 2)
        for row, name in zip(axes, done, strict=True):
            draw_plane(in_plane(done[name].pairs), row[0], row[1])
            row[0].set_title(f"{row[0].get_title()} ({_STUDIES[name]})")
    caption = "Grey: pairs, each over what a linear model of the means says of its cell of 0.1 × 0.1. Orange: means of the cells, larger with more pairs."
    with outcome.figure(folder, "metrics_averages", caption, 3.4 * len(done), 3.6) as made:
        axes = made.subplots(1, len(done), sharey=True)
        for ax, (name, study) in zip(axes, done.items(), strict=True):
            averages.draw(study.pairs, ax, _STUDIES[name])
        axes[0].set_ylabel("relative loss")
        axes[0].legend(fontsize=7, loc="upper left")
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
