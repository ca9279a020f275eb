"""Does the framework carry over to tasks other than segmentation? The source's second open question, for HRTEM."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.conformal import LEVEL
from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs, Square, Target
from passband.learning import task_of
from replication import judging, task_defocus
from replication.figures import draw_points
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.predictor import CLASSES, LossTable, Unseen, by_law, loaded
from replication.resampling import RESAMPLES, Statistic, rank_correlation, with_percentiles

_SEGMENTATION = "metrics_corrected"
# Task of each study; segmentation is what the others are compared with.
_TASKS = {
    _SEGMENTATION: "segmentation",
    "task_thickness": "thickness",
    "task_columns": "columns",
    CLASSES: "classes",
    "task_mean_diameter": "mean_diameter",
}
#: Predictors, chosen before any of these studies was run: the source's, a trivial one, and the best metric of two conditions for segmentation.
PREDICTORS: dict[str, tuple[str, ...]] = {
    "σ and Δε": ("sigma", "delta_epsilon"),
    "|Δdefocus|": ("defocus_difference_angstrom",),
    "rms Δχ and ε of both": ("phase_rms", "epsilon_train", "epsilon_test"),
}
#: The law fitted to a study itself.
LAW = "law of textures"
#: What is predicted.
TARGETS: dict[Target, str] = {
    "log_loss": "ln loss",
    "log_excess": "ln of the loss over that of networks trained under the test condition",
}
#: A relative loss from which a network counts as failed.
FAILED = 2.0


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return, task by task, what predicts the loss under other conditions, and whether pairs fail that fail in segmentation."""
    outcome, shown = Outcome(), {name: task.replace("_", " ") for name, task in _TASKS.items() if name in studies}
    tables = studies[_SEGMENTATION].paths.folder.parent
    others = [name for name in shown if name != _SEGMENTATION]
    # The conditions that all have.
    ids = sorted(set.intersection(*(set(studies[name].square.names) for name in shown)))
    pairs = {name: pairs_of(studies[name].square, ids) for name in shown}
    textures = {name: some(laws, ids) for name, laws in loaded(tables, tuple(shown)).items()}
    held_out = {
        target: {name: held_out_r2(pairs[name], textures.get(name), tables, target) for name in shown}
        for target in TARGETS
    }
    agreement = {name: alike(pairs[_SEGMENTATION], pairs[name]) for name in others}
    of_loss = held_out["log_loss"]
    outcome.text.append(
        "R² of ln loss, neither condition seen: "
        + "; ".join(
            f"{shown[name]}: σ and Δε {of_loss[name]['σ and Δε']}, {LAW} {of_loss[name].get(LAW, '–')}"
            for name in shown
        )
        + "."
    )
    for name in others:
        sigma = of_loss[name]["σ and Δε"]
        claim = f"The framework carries over to other tasks: σ and Δε predict the loss; {shown[name]}"
        outcome.claims.append(Claim(claim, f"R² {sigma}, neither condition seen", judged(sigma, above=0.7)))
    for name in others:
        outcome.claims.append(
            Claim(
                f"ours: conditions that fail segmentation fail this task, too; {shown[name]}",
                f"rank correlation of the relative loss over pairs {agreement[name]}",
                judged(agreement[name], above=0.7),
            )
        )
    rows = [_row(name, studies[name], pairs[name], ids, agreement.get(name)) for name in shown]
    outcome.text.append(
        f"{len(ids)} conditions, the same for all. Medians over conditions of the headline in the domain; pairs of other conditions whose loss is more than {FAILED:g} times the in-domain loss; rank correlation "
        "of the relative loss with segmentation's, over pairs. Atomic columns need particles along an axis, and classes two crystals (gold and palladium), so their specimens are others; "
        "networks of classes were trained on fewer specimens and epochs (`task_classes.yaml`).\n\n"
        + table(["task", "networks", "in-domain headline", "failed pairs", "agreement with segmentation"], rows)
    )
    for target, words in TARGETS.items():
        names = [*PREDICTORS, LAW]
        lines = [[shown[name], *(str(held_out[target][name].get(rule, "–")) for rule in names)] for name in shown]
        outcome.text.append(
            f"R² of {words}, neither condition seen. Quadratics in the numbers named, and the {LAW} ([what predicts the loss](predictor.md)), all fitted to the same study "
            "without the two conditions, four folds of conditions for the law. One seed: no ceiling is known.\n\n"
            + table(["task", *names], lines)
        )
    outcome.text += _intervals(studies, list(shown), pairs, ids, outcome)
    if CLASSES in studies:
        outcome.text.append(_crystals(studies[CLASSES], pairs[CLASSES], ids, outcome))
    outcome.text.append(
        "σ compares the magnitudes of two transfer functions, and so does not see a reversal of contrast, which moves the peaks of an image from atomic columns to the gaps between "
        "them. rms Δχ sees the phase, and the law of textures the sign of film and particles."
    )
    _draw(pairs, shown, folder, outcome)
    if task_defocus.STUDY in studies:
        summary, *rest = task_defocus.evaluate(studies[task_defocus.STUDY], folder, outcome)
        outcome.text[0] += f" {summary}"
        outcome.text += rest
    return outcome


def pairs_of(square: Square, ids: list[str]) -> Pairs:
    """Return the pairs of some of a study's conditions."""
    which = np.ix_(*2 * [[square.names.index(name) for name in ids]])
    whole = square.pairs
    return Pairs(whole.loss[which], {name: values[which] for name, values in whole.features.items()})


def some(table: LossTable, ids: list[str]) -> LossTable:
    """Return the table of some of a study's conditions."""
    names = [domain.id for domain in table.domains]
    return table.some([names.index(name) for name in ids])


def alike(a: Pairs, b: Pairs) -> Statistic:
    """Return the rank correlation of the relative loss, the same conditions drawn again for both studies."""
    rng, used = np.random.default_rng(0), a.off & b.off

    def correlation(drawn: np.ndarray) -> float:
        grid = np.ix_(drawn, drawn)
        return rank_correlation(a.log_ratio[grid][used[grid]], b.log_ratio[grid][used[grid]])

    n = len(used)
    return with_percentiles(correlation(np.arange(n)), [correlation(rng.integers(n, size=n)) for _ in range(RESAMPLES)])


def held_out_r2(pairs: Pairs, textures: LossTable | None, tables: Path, target: Target) -> dict[str, Statistic]:
    """Return R² of each rule that the study has what it needs for."""
    found = {
        rule: judging.r2(pairs, Fit(pairs, names, target).predictions()["both"], target)
        for rule, names in PREDICTORS.items()
        if pairs.varies(*names)
    }
    if textures is not None:
        test = Unseen("", textures, [], fold=np.arange(len(textures.loss)) % 4)
        found[LAW] = judging.r2(textures.pairs, by_law(tables, test, target), target)
    return found


def _row(name: str, study: StudyTables, pairs: Pairs, ids: list[str], agreement: Statistic | None) -> list[str]:
    headline, own = task_of(_TASKS[name]).headline, study.in_domain.filter(pl.col("train_condition").is_in(ids))
    median = float(np.median(own[headline.column].fill_nan(None).drop_nulls()))
    failed = float(np.mean(np.exp(pairs.log_ratio[pairs.off]) > FAILED))
    networks = own.select("train_condition", "seed").n_unique()
    how = _TASKS[name].replace("_", " ")
    return [how, str(networks), headline.text(median), f"{failed:.0%}", "" if agreement is None else str(agreement)]


def _intervals(
    studies: Mapping[str, StudyTables],
    names: list[str],
    pairs: Mapping[str, Pairs],
    ids: list[str],
    outcome: Outcome,
) -> list[str]:
    """Return a table of how often intervals of a value of the image hold, at home and elsewhere, and add the claims."""
    rows = []
    for name in names:
        if not studies[name].paths.table("coverage").is_file():
            continue
        means = studies[name].table("coverage").group_by("train_condition", "test_condition").mean()
        shares = square_of(means, ids, "coverage")
        off, quantity = pairs[name].off, task_of(_TASKS[name]).value
        home, elsewhere = _over_conditions(shares, np.eye(len(ids), dtype=bool)), _over_conditions(shares, off)
        outcome.claims.append(
            Claim(
                f"ours: {LEVEL:.0%} intervals that are calibrated under the training condition contain fewer true values under others; {quantity}",
                f"{elsewhere} of them under other conditions, {home} at home",
                judged(elsewhere, below=LEVEL),
            )
        )
        used = off & np.isfinite(shares)
        with_loss = rank_correlation(shares[used], pairs[name].log_ratio[used])
        width = float(means["half_width_angstrom"].median())
        worst = float(np.quantile(shares[used], 0.1))
        rows.append([quantity, f"{width:.2f} Å", str(home), str(elsewhere), f"{worst:.2f}", f"{with_loss:.2f}"])
    if not rows:
        return []
    head = ["value", "median half width", "at home", "elsewhere", "worst tenth of pairs", "with the relative loss"]
    return [
        f"Intervals of a value of the image are split-conformal, for {LEVEL:.0%} of the true values, calibrated under the training condition on one half of the test specimens and tested on the other. "
        "Share of true values within them under the training condition (at home) and under others, and its rank correlation with the relative loss over pairs: where the loss rises, the "
        "interval holds less.\n\n" + table(head, [[cell.replace("-", "−") for cell in row] for row in rows])
    ]


def _crystals(study: StudyTables, pairs: Pairs, ids: list[str], outcome: Outcome) -> str:
    """Return how often particles are found and given the wrong crystal, at home and elsewhere, and add the claim."""
    home, off = np.eye(len(ids), dtype=bool), pairs.off
    columns = ("mean_dice", "dice_particles", "wrong_crystal")
    means = study.scores.group_by("train_condition", "test_condition").agg(pl.col(columns).mean())
    values = {name: square_of(means, ids, name) for name in columns}
    shares = {name: [_over_conditions(found, used) for used in (home, off)] for name, found in values.items()}
    more = _over_conditions(values["wrong_crystal"] - np.diag(values["wrong_crystal"])[None], off)
    trivial = float(study.scores["wrong_crystal_trivial"].mean())
    outcome.claims.append(
        Claim(
            "ours: under other conditions, networks give more of the particles that they find the wrong crystal",
            f"{more} more of their pixels than networks trained there",
            judged(more, above=0.0),
        )
    )
    names = {
        "mean_dice": "mean Dice of the crystals",
        "dice_particles": "Dice of all particles",
        "wrong_crystal": "wrong crystal",
    }
    rows = [[title, *map(str, shares[name])] for name, title in names.items()]
    return (
        "Gold or palladium: means over conditions, and over pairs of other conditions. *Wrong crystal* is the share of the particles' pixels that are called the other crystal among those that are called any; "
        f"if all were called the commoner crystal it would be {trivial:.2f}.\n\n"
        + table(["score", "at home", "elsewhere"], rows)
    )


def square_of(table: pl.DataFrame, ids: list[str], column: str) -> np.ndarray:
    """Return a column of a table with a row a pair as an array [trained, tested]; NaN where there is no row."""
    rank, result = {name: i for i, name in enumerate(ids)}, np.full((len(ids), len(ids)), np.nan)
    for train, test, value in table.select("train_condition", "test_condition", column).iter_rows():
        if train in rank and test in rank:
            result[rank[train], rank[test]] = value
    return result


def _over_conditions(shares: np.ndarray, used: np.ndarray) -> Statistic:
    """Return the mean share of some pairs, conditions drawn again."""
    rng, n = np.random.default_rng(0), len(shares)

    def mean(drawn: np.ndarray) -> float:
        grid = np.ix_(drawn, drawn)
        return float(np.nanmean(shares[grid][used[grid]]))

    return with_percentiles(mean(np.arange(n)), [mean(rng.integers(n, size=n)) for _ in range(RESAMPLES)])


def _draw(pairs: Mapping[str, Pairs], shown: Mapping[str, str], folder: Path, outcome: Outcome) -> None:
    caption = "Each point is a pair of conditions: loss over the in-domain loss, of segmentation and of the other task."
    a, parts = pairs[_SEGMENTATION], []
    for name, b in pairs.items():
        if name == _SEGMENTATION:
            continue
        used = a.off & b.off
        parts.append(
            pl.DataFrame({"group": shown[name], "x": np.exp(a.log_ratio[used]), "y": np.exp(b.log_ratio[used])})
        )
    with outcome.figure(folder, "tasks", caption, 5.8, 4.8) as made:
        ax = made.subplots()
        draw_points(pl.concat(parts), ax, "relative loss, segmentation", "relative loss, other task", log=True)
        ax.set_xscale("log")


EXPERIMENT = Experiment(
    "tasks",
    "Other tasks",
    "Does what holds for segmentation hold for the thickness, for atomic columns, for the crystal of each particle, for a mean diameter, for the defocus?",
    (_SEGMENTATION,),
    evaluate,
    (*(name for name in _TASKS if name != _SEGMENTATION), task_defocus.STUDY),
    needs_extra=True,
)
