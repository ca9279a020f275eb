"""The summary of a model, as data, lines or a page: its card and scores, and how its verdicts do on held-out conditions."""

import html
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean as mean
from typing import Any

import numpy as np
import polars as pl

from passband.conditions import Condition, condition_of
from passband.files.atomic import write_text
from passband.learning import task_of
from passband.metrics import information, measure
from passband.models.store import Model
from passband.report import pages
from passband.verdicts.features import SOURCES, as_measured, training_data
from passband.verdicts.verdict import LEVEL, Prediction
from passband.verdicts.verdict_model import VerdictModel
from passband.verdicts.zones import NAMES, zone_of, zones

# Fields of the card that are shown, and quantiles of a loss.
_FIELDS = (
    *("name", "intended_use", "limits", "licence", "made_by", "pixel_size_angstrom", "pixel_band_angstrom"),
    *("specimens", "scored_on", "own_loss", "files", "task", "task_scores", "value_interval"),
)
_SHOWN = {"best tenth": 0.1, "median": 0.5, "worst tenth": 0.9}
# Conditions in the table of the worst.
_WORST = 12


def summary(model: Model) -> dict[str, Any]:
    """Return name, use, limits, training conditions with their ε and σ, scores by role, and how verdicts do on held-out conditions."""
    card = model.card
    stored = card.model_dump(mode="json", exclude={"specimens": {"recipe"}, "scored_on": {"recipe"}})
    answer: dict[str, Any] = {name: stored.get(name) for name in _FIELDS}
    answer |= {"folder": str(model.folder), "training_conditions": [c.to_dict() for c in card.conditions]}
    # The σ of many probes takes minutes, and their verdicts do not rest on it.
    if card.conditions and (model.scores is None or card.modality == "hrtem"):
        trained = [as_measured(c, card) if isinstance(c, Condition) else c for c in card.conditions]
        epsilon = information(trained, card.q_max_per_angstrom).numpy()
        sigma = measure(["sigma"], trained, trained, card.q_max_per_angstrom)["sigma"].numpy()
        answer["epsilon"] = {"least": float(epsilon.min()), "mean": float(epsilon.mean()), "most": float(epsilon.max())}
        answer["sigma"] = {"least": float(np.nanmin(sigma)), "mean": float(np.nanmean(sigma))}
    answer["task"] = card.task
    if model.scores is not None:
        answer["scores"] = {
            role: {
                "conditions": len(rows),
                "loss": {name: float(rows["loss"].quantile(q) or np.nan) for name, q in _SHOWN.items()},
                "dice": {name: float(rows["dice"].quantile(1 - q) or np.nan) for name, q in _SHOWN.items()},
            }
            for role in ("trained", "calibration", "held_out")
            if len(rows := model.scores.filter(pl.col("role") == role))
        }
        if "held_out" in answer["scores"]:
            verdicts = VerdictModel(model)
            answer["verdicts_held_out"] = {s: asdict(evaluate_held_out(verdicts, s)) for s in SOURCES}
    return answer


@dataclass(frozen=True)
class HeldOutVerdicts:
    """How verdicts do on the held-out conditions, so many of which are `asked`: within the applicability domain."""

    conditions: int
    asked: int
    #: Of the intervals; then the share of true values within them, None if there are none within the domain.
    level: float
    coverage_loss: float | None
    coverage_dice: float | None
    r2_log_loss: float | None
    #: Median of high over low of the loss.
    width_factor: float | None
    #: Number of conditions by predicted zone (or cannot say) and true zone.
    confusion: dict[str, dict[str, int]]

    @property
    def right(self) -> int:
        """Number of conditions whose zone is predicted right."""
        return sum(self.confusion[zone][zone] for zone in NAMES)


def evaluate_held_out(model: VerdictModel, source: str) -> HeldOutVerdicts:
    """Return how verdicts from a source of `features.SOURCES` do on the held-out conditions of a model that has some."""
    assert model.model.scores is not None
    held_out = model.model.scores.filter(pl.col("role") == "held_out")
    _, x, y = training_data(held_out, source, "loss")
    true = {t: held_out[t if source == "condition" else f"{t}_{source}"].to_list() for t in ("loss", "dice")}
    confusion = {answer: dict.fromkeys(NAMES, 0) for answer in (*NAMES, "cannot say")}
    conditions = [condition_of(json.loads(c)) for c in held_out["condition"]]
    if source == "condition":
        model.prepare(conditions)
    true_zones = [NAMES[i] for i in zone_of(np.array(true["loss"]) / model.in_domain_loss)]
    predicted: dict[int, Prediction] = {}
    for i, zone in enumerate(true_zones):
        features = x[i : i + 1]
        if model.objections(conditions[i]) if source == "condition" else model.image_objections(features, source):
            confusion["cannot say"][zone] += 1
            continue
        predicted[i] = model.predict(features, source)
        confusion[predicted[i].zone][zone] += 1
    truths, losses = y[list(predicted)], [p.loss for p in predicted.values()]
    errors = np.array([np.log(loss.predicted) for loss in losses]) - truths
    variance = float(np.var(truths)) if predicted else 0.0
    return HeldOutVerdicts(
        conditions=len(held_out),
        asked=len(predicted),
        level=LEVEL,
        coverage_loss=mean([p.loss.covers(true["loss"][i]) for i, p in predicted.items()]) if predicted else None,
        coverage_dice=mean([p.dice.covers(true["dice"][i]) for i, p in predicted.items()]) if predicted else None,
        r2_log_loss=1 - float(np.mean(errors**2)) / variance if variance else None,
        width_factor=float(np.median([loss.high / loss.low for loss in losses])) if losses else None,
        confusion=confusion,
    )


def in_words(answer: dict[str, Any]) -> list[str]:
    """Return a summary as lines to read."""
    lines = [f"{answer['name']}: {answer['intended_use']}"]
    lines += [f"limit: {line}" for line in answer["limits"]]
    low, high = answer["pixel_band_angstrom"]
    lines.append(f"pixels: works at {answer['pixel_size_angstrom']:g} Å; images of {low:g} to {high:g} Å are resampled")
    known = answer["specimens"]
    lines.append(f"specimens: {', '.join(known['elements'])} on {known['support'] or 'nothing'}")
    if "epsilon" in answer:
        e, s = answer["epsilon"], answer["sigma"]
        lines.append(
            f"trained on one condition, ε {e['mean']:.2f}"
            if len(answer["training_conditions"]) == 1
            else f"trained on {len(answer['training_conditions'])} conditions, ε {e['least']:.2f} to {e['most']:.2f} (mean {e['mean']:.2f}), σ between them {s['mean']:.2f} in the mean, {s['least']:.2f} at least"
        )
    if answer["task_scores"] is not None:
        lines += _of_task(answer)
    for role, title in (("trained", "training"), ("calibration", "calibration"), ("held_out", "held-out")):
        if role in answer.get("scores", {}):
            scores = answer["scores"][role]
            lines.append(
                f"scores on unseen specimens, {scores['conditions']} {title} conditions: median Dice {scores['dice']['median']:.3f} "
                f"(worst tenth {scores['dice']['worst tenth']:.3f}), median loss {scores['loss']['median']:.3f}"
            )
    for source, content in answer.get("verdicts_held_out", {}).items():
        held = HeldOutVerdicts(**content)
        if held.asked:
            lines.append(
                f"verdicts from {_source(source)}, {held.asked} of {held.conditions} held-out conditions: {held.coverage_loss:.0%} of the losses "
                f"and {held.coverage_dice:.0%} of the Dice within their {held.level:.0%} intervals, zone right in {held.right} of {held.asked}"
            )
    lines.append(f"licence: {answer['licence']}; files: {answer['folder']}")
    return lines


def _of_task(answer: dict[str, Any]) -> list[str]:
    """Return the headline of a model of another task than segmentation, and the interval of its values."""
    task, known, lines = task_of(answer["task"]), answer["value_interval"], []
    headline, home = task.headline, "training condition" + "s" * (len(answer["training_conditions"]) > 1)
    if (score := answer["task_scores"].get(headline.column)) is not None:
        lines.append(f"scores on unseen specimens under its {home}: {headline.text(score)}")
    if known is not None:
        elsewhere = known["coverage_elsewhere"]
        more = (
            ""
            if elsewhere is None
            else f"; under {known['conditions_elsewhere']} other conditions it contains {elsewhere:.0%} of the true values, under the worst {known['least_coverage_elsewhere']:.0%}"
        )
        lines.append(
            f"{task.value}: ± {known['half_width_angstrom']:.2f} {headline.unit} is the {known['level']:.0%} interval under its {home}, "
            f"from {known['images']} images{more}"
        )
    return lines


def _source(source: str) -> str:
    tiles = source.removeprefix("image")
    return "the condition" if source == "condition" else f"an image of {tiles} tile{'s' if tiles != '1' else ''}"


def write_profile(model: Model, path: Path) -> Path:
    """Write zones, worst conditions, and Dice over defocus and dose of a model as one HTML page; BadInputError if it has no scores."""
    from passband.figures import model_profile, style

    table, limits = VerdictModel(model).calibration_table(), zones()

    def draw(figure: Any) -> None:
        left, right = figure.subplots(1, 2)
        model_profile.draw(table, left, right, limits.stable_up_to, limits.collapse_from)

    picture = style.png(11, 4.2, draw, dpi=160)
    works = float((table["zone"] == NAMES[0]).mean())
    rows = [
        [r["label"].replace("-", "−"), f"{r['dice']:.3f}", f"{r['ratio']:.1f} ×", r["zone"]]
        for r in table.sort("dice").head(_WORST).iter_rows(named=True)
    ]
    parts = [
        f"<p><b>{html.escape(model.card.name)} works under {works:.0%} of the {len(table)} conditions that it was scored under: "
        f"a loss up to {limits.stable_up_to:g} × the in-domain loss.</b> From {limits.collapse_from:g} × on it has collapsed; between, it is degraded.</p>",
        f"<figure>{pages.picture(picture, 'Dice over defocus and dose, relative loss over defocus')}"
        "<figcaption>Each point is a condition, scored on many simulated fields.</figcaption></figure>",
        f"<h2>The worst {len(rows)} conditions</h2>{pages.table(rows, ('condition', 'Dice', 'loss / in-domain loss', 'zone'))}",
        "<h2>By zone</h2>"
        + pages.table(_by_zone(table), ("zone", "conditions", "mean Dice", "defocus [Å]", "dose [e/Å²]")),
        "<h2>The model</h2><ul>"
        + "".join(f"<li>{html.escape(line)}</li>" for line in in_words(summary(model)))
        + "</ul>",
    ]
    write_text(path, pages.page(f"Profile of {model.card.name}", "".join(parts)))
    return path


def _by_zone(table: pl.DataFrame) -> list[list[str]]:
    rows = []
    for zone in NAMES:
        own = table.filter(pl.col("zone") == zone)
        if len(own):
            ends = (
                f"{own[c].min():.0f} to {own[c].max():.0f}".replace("-", "−") if own[c].count() else "–"
                for c in ("defocus_angstrom", "dose_per_angstrom2")
            )
            rows.append([zone, str(len(own)), f"{own['dice'].mean():.3f}", *ends])
    return rows
