"""Experiment 2: do σ and Δε predict the loss, and what does?"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from passband.analysis import forest
from passband.analysis.ranking import Fit, Table, judge, tabulate
from passband.analysis.resampling import Figure
from passband.report import plane, predicted_loss, style
from passband.results.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from passband.shift import METRICS

_STUDIES = {"metrics": "all vary", "metrics_one_dose": "one dose"}
_SOURCE = ("sigma", "delta_epsilon")
# Named in advance: the source's, the trivial ones, and those that the first ranking found to lead.
_CANDIDATES: dict[str, tuple[str, ...]] = {
    "mean loss": (),
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
_TRIVIAL = {
    "mean loss",
    "|Δdefocus|",
    "Euclidean distance of coefficients",
    "image power spectra, KL",
    "image power spectra, MMD",
    "Δ ln dose",
}


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return held-out R² of the source's predictor, the trivial ones and the best, in both studies."""
    found = Outcome()
    best: dict[str, str] = {}
    judged_by_study: dict[str, dict[str, dict[str, float]]] = {}
    for name, how in _STUDIES.items():
        pairs, _ = tabulate(studies[name].scores, studies[name].shift)
        rows = {
            label: judge(Fit(pairs, names, "log_loss")) for label, names in _CANDIDATES.items() if _usable(pairs, names)
        }
        linear = judge(Fit(pairs, _SOURCE, "loss", linear=True))
        plain = _trees(pairs, _SOURCE)
        many = _trees(pairs, [f for f in forest.FEATURES if _usable(pairs, (f,))])
        single, figure = _best_single(pairs)
        rows |= {
            "σ and Δε, trees": plain,
            f"{len(forest.FEATURES)} metrics, trees": many,
            f"best single metric of the registry, chosen afterwards: {single}": figure,
        }
        judged_by_study[name] = rows
        source = _figure(linear, "both")
        found.claims.append(
            Claim(
                f"σ and Δε predict the loss of a pair (linear, R² above 0.7); {how}",
                f"R² neither condition seen {source}, train condition unseen {_figure(linear, 'train')}, in sample {linear['r2_in_sample']:.2f}",
                judged(source, above=0.7),
            )
        )
        ahead = max((k for k in rows if k != "mean loss" and "afterwards" not in k), key=lambda k: rows[k]["r2_both"])
        best[name] = f"{ahead} {_figure(rows[ahead], 'both')}"
        found.text.append(_page_table(how, rows, linear, int(pairs.used.sum())))
    first, second = (judged_by_study[name] for name in _STUDIES)
    found.text.insert(
        0,
        f"R² of the logarithm of the loss, neither condition seen by the fit: σ and Δε {_figure(first['σ and Δε'], 'both')} where all vary, "
        f"{_figure(second['σ and Δε'], 'both')} at one dose. The best that was named in advance: {best['metrics']} where all vary, "
        f"{best['metrics_one_dose']} at one dose.",
    )
    found.claims += _more(studies, judged_by_study)
    _draw(studies, folder, found)
    return found


def _usable(pairs: Table, names: tuple[str, ...]) -> bool:
    return all(n in pairs.features and np.ptp(pairs.features[n][pairs.used]) > 1e-9 for n in names)


def _trees(pairs: Table, names: Any) -> dict[str, float]:
    value, low, high = forest.r2(pairs, forest.predictions(pairs, names, "log_loss"), "log_loss")
    return {"r2_both": value, "r2_both_low": low, "r2_both_high": high}


def _best_single(pairs: Table) -> tuple[str, dict[str, float]]:
    scores = {}
    for name in pairs.features:
        if _usable(pairs, (name,)):
            scores[name] = Fit(pairs, (name,), "log_loss").both()
    name = max(scores, key=lambda n: scores[n])
    base = name.removeprefix("delta_").removesuffix("_train").removesuffix("_test")
    symbol = name.replace(base, METRICS[base].symbol).replace("_", " ") if base in METRICS else name
    return symbol, judge(Fit(pairs, (name,), "log_loss"))


def _figure(row: dict[str, float], kind: str) -> Figure:
    return Figure(row[f"r2_{kind}"], row[f"r2_{kind}_low"], row[f"r2_{kind}_high"])


def _page_table(how: str, rows: dict[str, dict[str, float]], linear: dict[str, float], count: int) -> str:
    def cells(label: str, row: dict[str, float]) -> list[str]:
        kinds = [str(_figure(row, k)) if f"r2_{k}" in row else "–" for k in ("both", "train")]
        sample = f"{row['r2_in_sample']:.2f}" if "r2_in_sample" in row else "–"
        return [label + (" (knows no optics)" if label in _TRIVIAL else ""), *kinds, sample]

    ordered = sorted(rows.items(), key=lambda item: -item[1]["r2_both"])
    body = [cells(label, row) for label, row in ordered] + [cells("σ and Δε, linear, of the loss itself", linear)]
    return (
        f"**{how.capitalize()}**, {count} pairs. R² of the logarithm of the loss by a quadratic fit unless said otherwise, with the central 95 % "
        "when conditions are drawn again and all is fitted again (trees: without fitting again).\n\n"
        + table(["predictor", "neither condition seen", "train condition unseen", "in sample"], body)
    )


def _more(studies: Mapping[str, StudyTables], rows: dict[str, dict[str, dict[str, float]]]) -> list[Claim]:
    claims = []
    pairs, _ = tabulate(studies["metrics"].scores, studies["metrics"].shift)
    gain = _gain(pairs, _SOURCE, (*_SOURCE, "dose_difference"))
    claims.append(
        Claim(
            "Given σ and Δε, the dose does not matter (conditional independence of dose)",
            f"R² gained by Δ ln dose, neither condition seen {gain}",
            "differs" if gain.low > 0 else "agrees" if gain.high < 0.05 else "cannot tell",
        )
    )
    single, _ = tabulate(studies["metrics_one_dose"].scores, studies["metrics_one_dose"].shift)
    for name, how, table_ in (("metrics", "all vary", pairs), ("metrics_one_dose", "one dose", single)):
        over = _gain(table_, ("spectrum_divergence",), _SOURCE)
        claims.append(
            Claim(
                f"Metrics of the transfer predict better than a statistical distance between the images (KL); {how}",
                f"R² of σ and Δε less that of KL, neither condition seen {over}; σ and Δε {_figure(rows[name]['σ and Δε'], 'both')}, KL {_figure(rows[name]['image power spectra, KL'], 'both')}",
                judged(over, above=0.0),
            )
        )
    smooth = _figure(rows["metrics_one_dose"]["σ and Δε, trees"], "both")
    claims.append(
        Claim(
            "The loss varies smoothly and predictably over the plane of σ and Δε; one dose",
            f"R² of trees on σ and Δε alone, neither condition seen {smooth}",
            judged(smooth, above=0.5),
        )
    )
    return claims


def _gain(pairs: Table, first: tuple[str, ...], second: tuple[str, ...]) -> Figure:
    """Return R² of the second fit less that of the first, with conditions drawn again for both together."""
    fits = [Fit(pairs, names, "log_loss") for names in (first, second)]
    rng = np.random.default_rng(0)
    n, values = len(pairs.used), []
    for _ in range(100):
        times = np.bincount(rng.integers(n, size=n), minlength=n).astype(float)
        values.append(fits[1].both(times) - fits[0].both(times))
    low, high = np.percentile(values, [2.5, 97.5])
    return Figure(fits[1].both() - fits[0].both(), float(low), float(high))


def _draw(studies: Mapping[str, StudyTables], folder: Path, found: Outcome) -> None:
    with style.figure(10.4, 8.0) as made:
        axes = made.subplots(2, 2)
        for row, (name, how) in zip(axes, _STUDIES.items(), strict=True):
            pairs = studies[name].square.pairs
            used = pairs.off & np.isfinite(pairs.features["sigma"])
            drawn = pl.DataFrame(
                {
                    "sigma": pairs.features["sigma"][used],
                    "delta_epsilon": pairs.features["delta_epsilon"][used],
                    "ratio": np.exp(pairs.log_ratio[used]),
                }
            )
            plane.draw(drawn, row[0], row[1])
            row[0].set_title(f"{row[0].get_title()} ({how})")
        style.save(made, folder, "metrics_plane", ("png",))
    found.figures.append(
        (
            "metrics_plane",
            "White: no pair of the study lies there. Dotted: where the source expects collapse (σ < 0.5, Δε < −0.2).",
        )
    )
    with style.figure(7.2, 3.8) as made:
        for ax, (name, how) in zip(made.subplots(1, 2), _STUDIES.items(), strict=True):
            pairs_, _ = tabulate(studies[name].scores, studies[name].shift)
            usable = [f for f in forest.FEATURES if _usable(pairs_, (f,))]
            predicted = forest.predictions(pairs_, usable, "log_loss")
            known = pairs_.used & np.isfinite(predicted)
            drawn = pl.DataFrame(
                {"loss": np.exp(pairs_.target["log_loss"][known]), "predicted": np.exp(predicted[known])}
            ).with_columns(train_zero=pl.lit(False), test_zero=pl.lit(False))  # fmt: skip
            predicted_loss.draw(drawn, ax, f"trees on {len(usable)} metrics ({how})")
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.get_legend().remove()
        style.save(made, folder, "metrics_predicted", ("png",))
    found.figures.append(("metrics_predicted", "Each point a pair of which the trees saw neither condition."))


EXPERIMENT = Experiment(
    "metrics",
    "What predicts the loss",
    "Two numbers from the contrast transfer function, σ and Δε, are said to tell how a network fares under another condition. Do they, when "
    "every aberration varies, on conditions that the fit has not seen? And what does better?",
    tuple(_STUDIES),
    evaluate,
)
