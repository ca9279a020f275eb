"""Does the framework carry over to tasks other than segmentation? The source's second open question, for HRTEM."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from passband.analysis.least_squares import Fit
from passband.analysis.pairs import Pairs, Target
from passband.learning import task_of
from replication import judging
from replication.figures import draw_points
from replication.networks import alike
from replication.outcome import Claim, Experiment, Outcome, StudyTables, judged, table
from replication.predictor import LossTable, Unseen, by_law, loaded
from replication.resampling import Statistic

_SEGMENTATION = "metrics_corrected"
# Task of each study; segmentation is what the others are compared with.
_TASKS = {
    _SEGMENTATION: "segmentation",
    "task_thickness": "thickness",
    "task_columns": "columns",
    "task_mean_diameter": "mean_diameter",
}
# Predictors, chosen before any of these studies was run: the source's, a trivial one, and the best metric of two conditions for segmentation.
_PREDICTORS: dict[str, tuple[str, ...]] = {
    "σ and Δε": ("sigma", "delta_epsilon"),
    "|Δdefocus|": ("defocus_difference_angstrom",),
    "rms Δχ and ε of both": ("phase_rms", "epsilon_train", "epsilon_test"),
}
_LAW = "law of textures"
_TARGETS: dict[Target, str] = {
    "log_loss": "ln loss",
    "log_excess": "ln of the loss over that of networks trained under the test condition",
}
# A relative loss from which a network counts as failed.
_FAILED = 2.0


def evaluate(studies: Mapping[str, StudyTables], folder: Path) -> Outcome:
    """Return, task by task, what predicts the loss under other conditions, and whether pairs fail that fail in segmentation."""
    outcome, shown = Outcome(), {name: task.replace("_", " ") for name, task in _TASKS.items() if name in studies}
    tables = studies[_SEGMENTATION].paths.folder.parent
    textures = loaded(tables, tuple(shown))
    held_out = {
        target: {name: _held_out(studies[name].square.pairs, textures.get(name), tables, target) for name in shown}
        for target in _TARGETS
    }
    base = studies[_SEGMENTATION]
    agreement = {name: alike(base, studies[name]) for name in shown if name != _SEGMENTATION}
    of_loss = held_out["log_loss"]
    others = [name for name in shown if name != _SEGMENTATION]
    outcome.text.append(
        "R² of ln loss, neither condition seen: "
        + "; ".join(
            f"{shown[name]}: σ and Δε {of_loss[name]['σ and Δε']}, {_LAW} {of_loss[name].get(_LAW, '–')}"
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
    rows = [_row(name, studies[name], agreement.get(name)) for name in shown]
    outcome.text.append(
        f"Medians over conditions of the headline in the domain; pairs of other conditions whose loss is more than {_FAILED:g} times the in-domain loss; rank correlation "
        "of the relative loss with segmentation's, over pairs of the same conditions. Atomic columns need particles along an axis, so their specimens are others.\n\n"
        + table(["task", "networks", "in-domain headline", "failed pairs", "agreement with segmentation"], rows)
    )
    for target, words in _TARGETS.items():
        names = [*_PREDICTORS, _LAW]
        lines = [[shown[name], *(str(held_out[target][name].get(rule, "–")) for rule in names)] for name in shown]
        outcome.text.append(
            f"R² of {words}, neither condition seen. Quadratics in the numbers named, and the {_LAW} ([what predicts the loss](predictor.md)), all fitted to the same study "
            "without the two conditions, four folds of conditions for the law. One seed: no ceiling is known.\n\n"
            + table(["task", *names], lines)
        )
    _draw(base, {name: studies[name] for name in others}, shown, folder, outcome)
    return outcome


def _held_out(pairs: Pairs, textures: LossTable | None, tables: Path, target: Target) -> dict[str, Statistic]:
    """Return R² of each rule that the study has what it needs for."""
    found = {
        rule: judging.r2(pairs, Fit(pairs, names, target).predictions()["both"], target)
        for rule, names in _PREDICTORS.items()
        if pairs.varies(*names)
    }
    if textures is not None:
        test = Unseen("", textures, [], fold=np.arange(len(textures.loss)) % 4)
        found[_LAW] = judging.r2(textures.pairs, by_law(tables, test, target), target)
    return found


def _row(name: str, study: StudyTables, agreement: Statistic | None) -> list[str]:
    headline, pairs = task_of(_TASKS[name]).headline, study.square.pairs
    median = float(np.median(study.in_domain[headline.column].fill_nan(None).drop_nulls()))
    failed = float(np.mean(np.exp(pairs.log_ratio[pairs.off]) > _FAILED))
    networks = study.scores.select("train_condition", "seed").n_unique()
    how = _TASKS[name].replace("_", " ")
    return [how, str(networks), headline.text(median), f"{failed:.0%}", "" if agreement is None else str(agreement)]


def _draw(
    base: StudyTables, others: Mapping[str, StudyTables], shown: Mapping[str, str], folder: Path, outcome: Outcome
) -> None:
    caption = "Each point is a pair of conditions: loss over the in-domain loss, of segmentation and of the other task."
    a, parts = base.square.pairs, []
    for name, other in others.items():
        b = other.square.pairs
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
    "Does what holds for segmentation hold for the thickness, for atomic columns, for a mean diameter?",
    (_SEGMENTATION,),
    evaluate,
    tuple(name for name in _TASKS if name != _SEGMENTATION),
    needs_extra=True,
)
