"""The tables and figures of the page "Does curvature tell?", from what `replication.curvature` judges."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from passband.analysis.pairs import Target
from passband.figures import style
from passband.network_measures.registry import Measure
from passband.studies.curvature_jobs import fewer_images
from replication import curvature
from replication.curvature import SHORT, TARGETS, Judged, Need
from replication.filled_page import fill_in, number
from replication.outcome import StudyTables, table
from replication.resampling import Statistic

# Measures at home that may tell how a network does elsewhere.
_AT_HOME = (
    "hessian_top_train",
    "hessian_trace_train",
    "fisher_top_train",
    "head_trace_train",
    "head_fisher_trace_train",
    "head_soft_rank_train",
    "sharpness_train",
    "gradient_norm_train",
    "expected_dice_train",
    "orientation_dice_train",
)
# Measures that are judged by the number of images, too.
_BY_IMAGES = (
    "prediction_kl",
    "prediction_fisher_rao",
    "prediction_loss",
    "prediction_dice",
    "gradient_norm_test",
    "hessian_grassmann",
    "head_fisher_alignment",
    "fisher_top_test",
    "feature_mmd",
    "spectral_frechet_distance",
    "thresholded_dice",
    "expected_dice_test",
    "orientation_agreement_test",
)
_SIDES = {"train": " at home", "test": " there"}
# By what a measure takes of the other condition.
_COLOURS: dict[Need, str] = dict(
    zip(
        ("nothing", "images", "same specimens", "labels"),
        (style.GROUPS[4], style.BLUE, style.GROUPS[2], style.ORANGE),
        strict=True,
    )
)
# Measures that the figure shows at most.
_SHOWN = 24


def write(page: Path) -> None:
    """Draw the figures of the study with most conditions, and fill in the tables of a page, from what lies in tables/curvature/ beside it."""
    tables = page.parent / "tables"
    studies = curvature.studies(tables)
    judged = {name: curvature.judge(study) for name, study in studies.items()}
    elsewhere = {name: curvature.judge(study, zero=False) for name, study in studies.items()}
    ceilings = {name: curvature.ceilings(tables, name) for name in studies}
    name, study = max(studies.items(), key=lambda item: len(item[1].square.names))
    draw_ranking(judged[name], ceilings[name], page.parent / "figures")
    draw_pairs(study, judged[name], page.parent / "figures")
    fill_in(
        page,
        {
            "answer": "\n\n".join(summary(n, studies[n], judged[n], ceilings[n]) for n in studies),
            "zero": "\n\n".join(f"**{n}**\n\n{of_each(elsewhere[n])}" for n in studies if elsewhere[n]),
            "table": "\n\n".join(f"**{n}**\n\n{ranking(judged[n], ceilings[n])}" for n in studies),
            "home": "\n\n".join(f"**{n}**\n\n{at_home(s)}" for n, s in studies.items()),
            "images": "\n\n".join(f"**{n}**\n\n{of_images(s)}" for n, s in studies.items() if fewer_images(s.paths)),
            "head": "\n\n".join(f"**{n}**\n\n{head(s)}" for n, s in studies.items() if _has_both(s)),
        },
    )


def title(row: Judged) -> str:
    """Return what a row judges."""
    words = row.column if row.measure is None else column_title(row.column, row.measure)
    return words if row.images is None else f"{words}, {row.images} images"


def column_title(column: str, measure: Measure) -> str:
    """Return what a column is, with the condition that a measure of one network is taken under."""
    side = column.rpartition("_")[2] if measure.of == "network" else ""
    # Cosines are judged as angles.
    words = measure.title.replace("cosine", "angle") if column.endswith("alignment") else measure.title
    return words + _SIDES.get(side, "")


def symbol(row: Judged) -> str:
    """Return the symbol of a column."""
    if row.measure is None:
        return ""
    return row.measure.symbol.replace("cos ", "∠ ") if row.column.endswith("alignment") else row.measure.symbol


def summary(name: str, study: StudyTables, rows: Sequence[Judged], ceilings: dict[Target, float]) -> str:
    """Return the answer of one study: a sentence for each target, and the best of each kind in a table."""
    networks, conditions = study.scores.select("train_condition", "seed").n_unique(), len(study.square.names)
    sentences = []
    for target, words in TARGETS.items():
        first = curvature.best(rows, target, "nothing", "images")
        optics = max(
            (r for r in rows if r.target == target and r.measure is None), key=lambda r: r.r2.value, default=None
        )
        if first is not None and optics is not None:
            told = curvature.answer(rows, target)
            sentences.append(
                f"Does curvature tell {words} better than the optics do? **{told[0].upper()}{told[1:]}**: without labels of the other condition R² is at most {first.r2}, "
                f"where the {optics.column}, which needs no network, has {optics.r2}."
            )
    proposed = [one for one in rows if one.column == "hessian_grassmann"]
    if proposed:
        ranks = [
            f"{number(one.rank)} with {SHORT[one.target]} (R² {one.r2}"
            + ("" if one.more is None else f", and {one.more} more beside the law of textures")
            + ")"
            for one in proposed
        ]
        sentences.append(
            f"The Grassmann distance of the Hessians' subspaces, which the source proposes, has rank correlations of {' and '.join(ranks)}."
        )
    return (
        f"**{name}, {networks} networks, {conditions} conditions.** {' '.join(sentences)}\n\n{of_each(rows, ceilings)}"
    )


def of_each(rows: Sequence[Judged], ceilings: dict[Target, float] | None = None) -> str:
    """Return a table of the best measure of each kind and of the baselines."""
    columns = {}
    for target in TARGETS:
        kinds = {
            "curvature and gradients, no labels": curvature.best(rows, target, "nothing", "images"),
            "curvature and gradients, labels": curvature.best(rows, target, "labels"),
            "predictions and images, no labels": curvature.best(rows, target, "nothing", "images", curvature=False),
            "predictions of the same specimens under both": curvature.best(
                rows, target, "same specimens", curvature=False
            ),
        }
        columns[target] = {kind: "–" if one is None else f"{one.r2} ({title(one)})" for kind, one in kinds.items()}
        columns[target] |= {
            f"no network: {r.column}": str(r.r2) for r in rows if r.target == target and r.measure is None
        }
        if ceilings is not None:
            columns[target]["ceiling: noise between seeds"] = number(ceilings[target])
    lines = [[kind, *(columns[target].get(kind, "–") for target in TARGETS)] for kind in columns["log_loss"]]
    return table(["the best of each", *(f"R² of {words}" for words in SHORT.values())], lines)


def of_images(study: StudyTables) -> str:
    """Return the table of R² of ln loss by the number of test images that measures are taken from."""
    found = curvature.by_images(study, _BY_IMAGES, "log_loss")
    _, columns = curvature.measured_pairs(study)
    lines = [
        [column_title(c, columns[c]), *(str(of[c]) if c in of else "–" for of in found.values())]
        for c in _BY_IMAGES
        if c in columns
    ]
    return table(["R² of ln loss", *(f"{count} images" for count in found)], lines)


def ranking(rows: Sequence[Judged], ceilings: dict[Target, float]) -> str:
    """Return the table of baselines and measures, in Markdown, the best of each first."""
    by_column: dict[str, dict[Target, Judged]] = {}
    for row in rows:
        by_column.setdefault(row.column, {})[row.target] = row
    order = sorted(by_column.values(), key=lambda of: (of["log_loss"].measure is not None, -of["log_loss"].r2.value))
    lines = []
    for of in order:
        first = of["log_loss"]
        cells = [cell for t in TARGETS for cell in (number(of[t].rank), str(of[t].r2), _text(of[t].more))]
        lines.append([title(first), symbol(first), first.needs, *cells])
    lines.append(["ceiling: noise between seeds", "", "", *[c for t in TARGETS for c in ("", number(ceilings[t]), "")]])
    header = [
        "predictor",
        "symbol",
        "needs there",
        *(c for w in SHORT.values() for c in (f"rank, {w}", "R²", "more beside the law")),
    ]
    return table(header, lines)


def _text(statistic: Statistic | None) -> str:
    return "" if statistic is None else str(statistic)


def at_home(study: StudyTables) -> str:
    """Return the table of measures at home beside how the networks do elsewhere."""
    _, columns = curvature.measured_pairs(study)
    found = curvature.train_effect(study, [name for name in _AT_HOME if name in columns])
    telling = [columns[name].title for name, one in found.items() if one.low > 0 or one.high < 0]
    sentence = f"Intervals that exclude 0: {', '.join(telling) or 'none'}."
    rows = [[columns[name].title, str(one)] for name, one in found.items()]
    return f"{sentence}\n\n{table(['at home', 'rank correlation with the mean ln relative loss elsewhere'], rows)}"


def _has_both(study: StudyTables) -> bool:
    """Tell whether spectra of all weights were measured, too."""
    return bool(curvature.head_against_whole(study, "log_loss"))


def head(study: StudyTables) -> str:
    """Return the table of the head's matrices beside those of all weights."""
    _, columns = curvature.measured_pairs(study)
    found = {target: curvature.head_against_whole(study, target) for target in TARGETS}
    rows = [
        [columns[name].title.replace("cosine", "angle"), *(str(found[target][name]) for target in TARGETS)]
        for name in found["log_loss"]
    ]
    return table(["the head for all weights", *(f"gain in R² of {words}" for words in SHORT.values())], rows)


def draw_ranking(rows: Sequence[Judged], ceilings: dict[Target, float], folder: Path) -> None:
    """Draw R² of the best measures with their intervals, for both targets, beside the baselines."""
    of_loss = sorted((r for r in rows if r.target == "log_loss"), key=lambda r: -r.r2.value)
    measures = [r for r in of_loss if r.measure is not None][:_SHOWN]
    first = [r for r in of_loss if r.measure is None or r in measures]
    with style.figure(10.0, 0.24 * len(first) + 1.3) as made:
        axes = made.subplots(1, 2, sharey=True)
        for ax, (target, words) in zip(axes, SHORT.items(), strict=True):
            _draw_bars(ax, [next(r for r in rows if r.column == f.column and r.target == target) for f in first])
            if np.isfinite(ceilings[target]):
                ax.axvline(ceilings[target], color="black", linewidth=0.8, linestyle=":")
            ax.axvline(0, color="black", linewidth=0.8)
            ax.set(xlabel=f"R² of {words}", xlim=(-0.6, 1.0), ylim=(len(first) - 0.5, -0.5))
        axes[0].set_yticks(range(len(first)), [title(row) for row in first], fontsize=7)
        axes[1].plot([], [], "o", color=style.GREY, label="optics alone")
        for need, colour in _COLOURS.items():
            axes[1].plot([], [], "o", color=colour, label=f"network, {need} of the other condition")
        made.legend(fontsize=7, loc="outside upper right", ncols=3)
        style.save(made, folder, "curvature_ranking", ("png",))


def _draw_bars(ax: Axes, rows: Sequence[Judged]) -> None:
    for i, row in enumerate(rows):
        colour = style.GREY if row.measure is None else _COLOURS[row.needs]
        error = [[row.r2.value - row.r2.low], [row.r2.high - row.r2.value]]
        ax.errorbar(row.r2.value, i, xerr=np.maximum(error, 0), fmt="o", color=colour, markersize=4, linewidth=1)


def draw_pairs(study: StudyTables, rows: Sequence[Judged], folder: Path) -> None:
    """Draw the relative loss of each pair against the source's distance of subspaces, and against the best curvature without labels."""
    pairs, columns = curvature.measured_pairs(study)
    free = curvature.best(rows, "log_excess", "nothing", "images")
    names = [name for name in ("hessian_grassmann", free.column if free else "") if name in columns]
    with style.figure(3.6 * len(names), 3.3) as made:
        axes = np.atleast_1d(made.subplots(1, len(names), sharey=True))
        for ax, name in zip(axes, names, strict=True):
            used = pairs.off & np.isfinite(pairs.features[name])
            ax.scatter(pairs.features[name][used], np.exp(pairs.log_excess[used]), s=8, alpha=0.35, linewidths=0)
            row = next(r for r in rows if r.column == name)
            ax.set_xlabel(title(row), fontsize=8)
            style.log_scale(ax)
        axes[0].set_ylabel("loss over that of networks trained there")
        style.save(made, folder, "curvature_pairs", ("png",))
