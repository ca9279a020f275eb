"""The verdict while a slider moves: quick first, its reasons when they are asked for."""

import json
from dataclasses import replace

import numpy as np
import polars as pl

from passband.app.html import short
from passband.conditions import Condition
from passband.verdicts import reasons
from passband.verdicts.domain import SpecimenInfo, assumptions
from passband.verdicts.features import condition_features
from passband.verdicts.judge import Judge, Verdict, advise
from passband.verdicts.zones import NAMES, zone_of


class LiveJudge(Judge):
    """A judge that answers in some tens of milliseconds."""

    def place(self, condition: Condition) -> tuple[float | None, float]:
        """Return where a condition lies in the plane: σ of the training condition that it shares most with (if known), and its ε."""
        found = condition_features(self.card, [condition])
        return (float(found["sigma"][0]) if "sigma" in found else None), float(found["epsilon"][0])

    def quick(self, condition: Condition) -> Verdict:
        """Return the verdict without its reasons."""
        name, objections = self.card.name, self.objections(condition)
        if objections:
            return Verdict(name, "cannot say", cannot_say=objections, advice=reasons.beyond(self.card, "condition"))
        numbers = self.numbers(self.features(condition), "condition")
        return replace(self.verdict(numbers, [], str), advice=None)

    def explained(self, condition: Condition, *, advised: bool = False) -> Verdict:
        """Return the verdict with its reasons and the nearest training condition, and with what to do if that is asked for."""
        if self.objections(condition):
            return self.quick(condition)
        numbers = self.numbers(self.features(condition), "condition")
        verdict = self.verdict(
            numbers,
            reasons.of_condition(self.card, condition, holds=numbers["zone"] == NAMES[0]),
            lambda: advise(self, condition) if advised else "",
            assumed=assumptions(self.card, SpecimenInfo()),
            nearest=self.nearest(condition),
        )
        return verdict if advised else replace(verdict, advice=None)

    def typical(self) -> Condition:
        """Return the training condition of median loss."""
        trained = self.fitted.filter(pl.col("role") == "trained").sort("loss")
        return Condition(**json.loads(trained["condition"][len(trained) // 2]))

    def scored_conditions(self) -> pl.DataFrame:
        """Return the calibration conditions: sigma, epsilon, ratio (relative loss), zone, dice, role, label."""
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
