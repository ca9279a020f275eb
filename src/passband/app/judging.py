"""The verdict while a slider moves: the same predictors as `passband check`, with the training conditions' transfer kept in memory.

`deploy.check` resolves each phase afresh for every condition, which takes a second or more; here a fixed band is sampled once, coarser, and
the training conditions' side of every metric with it. Zones and intervals then agree to a percent or so.
"""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import torch

from passband.app.words import short
from passband.conditions import ImagingCondition
from passband.deploy import reasons
from passband.deploy.check import Judge, Verdict, advise
from passband.deploy.features import as_measured, plain_features
from passband.deploy.models import Model
from passband.deploy.studied import Claim, assumptions
from passband.deploy.zones import NAMES, zone_of
from passband.frequencies import polar_band
from passband.optics import stack
from passband.shift import METRICS, View
from passband.shift.band import Band
from passband.shift.weights import carbon_film, core, uniform

# Of the fixed band: fine enough for the phases of the conditions that models are studied under.
_RINGS, _DIRECTIONS = 96, 48
_ALONE = ("epsilon", "image_snr", "channel_information")
_PAIR = {"sigma": max, "signed_overlap": max, "phase_rms": min}


class LiveJudge(Judge):
    """A judge that answers in some ten milliseconds."""

    def __init__(self, model: Model):
        """Sample the training conditions on the fixed band.

        Raises:
            BadInputError: if the model has not been scored.
        """
        super().__init__(model)
        q_max = self.card.q_max_per_angstrom
        qx, qy = (q.flatten() for q in polar_band(q_max, _RINGS, _DIRECTIONS))
        radius = torch.hypot(qx, qy)
        power = carbon_film(self.scored[0].energy_ev)(radius)
        self._bands: dict[str, Band] = {}
        for name, weight in (("uniform", uniform), ("core", core(q_max / 2))):
            w = weight(radius)
            self._bands[name] = Band(qx, qy, w / w.mean(), power)
        trained = [as_measured(c, self.card) for c in self.card.conditions]
        self._trained = {name: _view(trained, band) for name, band in self._bands.items()} if trained else {}

    def features(self, condition: ImagingCondition) -> np.ndarray:
        """Return the features of a condition, in the predictors' order, shape [1, D]."""
        found = self.numbers_of(condition)
        return np.array([[found[name] for name in self.predictor("loss", "condition").names]])

    def prepare(self, conditions: list[ImagingCondition]) -> None:
        """Do nothing: one by one is as fast here."""

    def numbers_of(self, condition: ImagingCondition) -> dict[str, float]:
        """Return the features of a condition by name, as `deploy.features.condition_features` defines them."""
        seen = as_measured(condition, self.card)
        tests = {name: _view([seen], band) for name, band in self._bands.items()}
        found = {name: _alone(name, tests["uniform"]) for name in _ALONE}
        if self._trained:
            for name, best in _PAIR.items():
                metric = METRICS[name]
                assert metric.finish is not None
                values = metric.finish(*metric.compute(self._trained[metric.weight], tests[metric.weight]))
                found[name] = float(best(values[:, 0].nan_to_num(0.0)))
        return found | plain_features(seen)

    def place(self, condition: ImagingCondition) -> tuple[float | None, float]:
        """Return where a condition lies in the plane: σ of the training condition that it shares most with (if known), and its ε."""
        found = self.numbers_of(condition)
        return found.get("sigma"), found["epsilon"]

    def quick(self, condition: ImagingCondition) -> Verdict:
        """Return the verdict without its reasons."""
        name, objections = self.card.name, self.objections(condition)
        if objections:
            return Verdict(name, "cannot say", cannot_say=objections, advice=reasons.beyond(self.card))
        numbers = self.numbers(self.features(condition), "condition")
        answer = "yes" if numbers["zone"] == "stable" else "no"
        return Verdict(name, answer, **numbers, own_loss=self.card.own_loss)

    def explained(self, condition: ImagingCondition, *, advised: bool = False) -> Verdict:
        """Return the verdict with its reasons and the nearest training condition, and with what to do if that is asked for."""
        verdict = self.quick(condition)
        if verdict.answer == "cannot say":
            return verdict
        advice = advise(self, condition) if advised and verdict.answer == "no" else None
        return replace(
            verdict,
            reasons=reasons.of_condition(self.card, condition),
            assumed=assumptions(self.card, Claim()),
            nearest=self.nearest(condition),
            advice=advice,
        )

    def typical(self) -> ImagingCondition:
        """Return the training condition of median loss."""
        trained = self.fitted.filter(pl.col("role") == "trained").sort("loss")
        return ImagingCondition(**json.loads(trained["condition"][len(trained) // 2]))

    def studied(self) -> pl.DataFrame:
        """Return the conditions that the model was scored under: sigma, epsilon, ratio (loss over its own), zone, dice, role, label."""
        scores, own = self.fitted, self.card.own_loss or 1.0
        ratio = scores["loss"].to_numpy() / own
        sigma = scores["feature_sigma"] if "feature_sigma" in scores.columns else np.full(len(scores), np.nan)
        return pl.DataFrame(
            {
                "sigma": sigma,
                "epsilon": scores["feature_epsilon"],
                "ratio": ratio,
                "zone": [NAMES[i] for i in zone_of(ratio)],
                "dice": scores["dice"],
                "role": scores["role"],
                "label": [short(c.to_dict()) for c in self.scored],
            }
        )


def _view(conditions: list[ImagingCondition], band: Band) -> View:
    return View(stack(conditions), band, torch.zeros(len(conditions), 3, dtype=torch.float64))


def _alone(name: str, view: View) -> float:
    metric = METRICS[name]
    sums = metric.compute(view)
    return float(sums[0] / len(view.band.qx) if metric.finish is None else metric.finish(*sums))
