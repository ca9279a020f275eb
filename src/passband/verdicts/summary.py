"""What a model's card and scores say, in numbers and in words; and how its verdicts do on conditions kept back."""

import json
from typing import Any

import numpy as np
import polars as pl

from passband.conditions import Condition
from passband.metrics import information, measure
from passband.models.store import Model
from passband.verdicts.features import SOURCES, as_measured, training_data
from passband.verdicts.judge import LEVEL, Judge
from passband.verdicts.zones import NAMES, zone_of

# Quantiles of a loss that are shown.
_SHOWN = {"best tenth": 0.1, "median": 0.5, "worst tenth": 0.9}


def summary(model: Model) -> dict[str, Any]:
    """Return name, use, limits, what it was trained on, ε and σ of that, scores by role, and how its verdicts do."""
    card = model.card
    answer: dict[str, Any] = {
        "name": card.name,
        "folder": str(model.folder),
        "intended_use": card.intended_use,
        "limits": list(card.limits),
        "licence": card.licence,
        "made_by": card.made_by,
        "pixel_size_angstrom": card.pixel_size_angstrom,
        "pixel_band_angstrom": list(card.pixel_band_angstrom),
        "specimens": card.specimens.model_dump(mode="json", exclude={"recipe"}),
        "scored_on": None if card.scored_on is None else card.scored_on.model_dump(mode="json", exclude={"recipe"}),
        "training_conditions": [c.to_dict() for c in card.conditions],
        "own_loss": card.own_loss,
        "files": dict(card.files),
    }
    if card.conditions:
        trained = [as_measured(c, card) for c in card.conditions]
        epsilon = information(trained, card.q_max_per_angstrom).numpy()
        sigma = measure(["sigma"], trained, trained, card.q_max_per_angstrom)["sigma"].numpy()
        answer["epsilon"] = {"least": float(epsilon.min()), "mean": float(epsilon.mean()), "most": float(epsilon.max())}
        answer["sigma"] = {"least": float(np.nanmin(sigma)), "mean": float(np.nanmean(sigma))}
    if model.scores is not None:
        answer["scores"] = {
            role: {
                "conditions": len(own),
                "loss": {name: float(own["loss"].quantile(q) or np.nan) for name, q in _SHOWN.items()},
                "dice": {name: float(own["dice"].quantile(1 - q) or np.nan) for name, q in _SHOWN.items()},
            }
            for role in ("trained", "calibration", "held_out")
            if len(own := model.scores.filter(pl.col("role") == role))
        }
        if "held_out" in answer["scores"]:
            answer["verdicts_held_out"] = {source: judged(model, source) for source in SOURCES}
    return answer


def judged(model: Model, source: str) -> dict[str, Any]:
    """Return how verdicts do on the conditions kept back: coverage of the intervals, R², and the table of zones.

    Args:
        model: scored, with conditions kept back.
        source: what verdicts rest on, of `features.SOURCES`.

    Returns:
        conditions (how many), asked (of how many something was said), coverage_loss and coverage_dice of the LEVEL intervals, r2_log_loss,
        width_factor (median of high over low of the loss), and confusion: predicted zone by true zone.
    """
    judge, scores = Judge(model), model.scores
    assert scores is not None and model.card.own_loss is not None
    kept = scores.filter(pl.col("role") == "held_out")
    _, x, y = training_data(kept, source, "loss")
    true = {t: kept[t if source == "condition" else f"{t}_{source}"].to_list() for t in ("loss", "dice")}
    confusion = {said: dict.fromkeys(NAMES, 0) for said in (*NAMES, "cannot say")}
    inside: dict[str, list[bool]] = {"loss": [], "dice": []}
    means, widths, truths = [], [], []
    conditions = [Condition(**json.loads(c)) for c in kept["condition"]]
    if source == "condition":
        judge.prepare(conditions)
    zones = zone_of(np.array(true["loss"]) / model.card.own_loss)
    for i in range(len(kept)):
        truth = NAMES[zones[i]]
        objections = (
            judge.objections(conditions[i]) if source == "condition" else judge.image_objections(x[i : i + 1], source)
        )
        if objections:
            confusion["cannot say"][truth] += 1
            continue
        numbers = judge.numbers(x[i : i + 1], source)
        confusion[numbers["zone"]][truth] += 1
        for name, found in inside.items():
            found.append(numbers[name]["low"] <= true[name][i] <= numbers[name]["high"])
        means.append(np.log(numbers["loss"]["predicted"]))
        widths.append(numbers["loss"]["high"] / numbers["loss"]["low"])
        truths.append(y[i])
    asked = len(means)
    spread = float(np.var(truths)) if asked else 0.0
    return {
        "conditions": len(kept),
        "asked": asked,
        "level": LEVEL,
        "coverage_loss": float(np.mean(inside["loss"])) if asked else None,
        "coverage_dice": float(np.mean(inside["dice"])) if asked else None,
        "r2_log_loss": 1 - float(np.mean(np.subtract(means, truths) ** 2)) / spread if spread else None,
        "width_factor": float(np.median(widths)) if asked else None,
        "confusion": confusion,
    }


def in_words(answer: dict[str, Any]) -> list[str]:
    """Return a summary as lines to read."""
    lines = [f"{answer['name']}: {answer['intended_use']}"]
    lines += [f"limit: {line}" for line in answer["limits"]]
    low, high = answer["pixel_band_angstrom"]
    lines.append(f"pixels: works at {answer['pixel_size_angstrom']:g} Å; images of {low:g} to {high:g} Å are resampled")
    known = answer["specimens"]
    lines.append(f"specimens: {', '.join(known['elements'])} on {known['support'] or 'nothing'}")
    if answer["training_conditions"]:
        e, s = answer["epsilon"], answer["sigma"]
        lines.append(
            f"trained on {len(answer['training_conditions'])} conditions, ε {e['least']:.2f} to {e['most']:.2f} (mean {e['mean']:.2f}), σ between them {s['mean']:.2f} in the mean, {s['least']:.2f} at least"
        )
    for role, title in (
        ("trained", "there"),
        ("calibration", "where verdicts were calibrated"),
        ("held_out", "kept back"),
    ):
        if role in answer.get("scores", {}):
            own = answer["scores"][role]
            lines.append(
                f"scores on unseen specimens, {own['conditions']} conditions {title}: median Dice {own['dice']['median']:.3f} (worst tenth {own['dice']['worst tenth']:.3f}), median loss {own['loss']['median']:.3f}"
            )
    for source, found in answer.get("verdicts_held_out", {}).items():
        if found["asked"]:
            right = sum(found["confusion"][z][z] for z in NAMES)
            lines.append(
                f"verdicts from {_words(source)}, {found['asked']} of {found['conditions']} conditions kept back: {found['coverage_loss']:.0%} of the losses and {found['coverage_dice']:.0%} of the Dice within their {found['level']:.0%} intervals, "
                f"zone right in {right} of {found['asked']}"
            )
    lines.append(f"licence: {answer['licence']}; files: {answer['folder']}")
    return lines


def _words(source: str) -> str:
    tiles = source.removeprefix("image")
    return "the condition" if source == "condition" else f"an image of {tiles} tile{'s' if tiles != '1' else ''}"
