"""Verdicts on a model: under a condition, or on a micrograph."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from passband.conditions import AnyCondition, Condition
from passband.verdicts import reasons
from passband.verdicts.calibrated_model import CalibratedModel
from passband.verdicts.domain import SpecimenInfo
from passband.verdicts.verdict import Verdict, in_short
from passband.verdicts.zones import NAMES, zone_of

if TYPE_CHECKING:
    from passband.estimation.estimate import Estimate
    from passband.micrographs.micrograph import Micrograph

_UNKNOWN = SpecimenInfo()


class VerdictModel(CalibratedModel):
    """A model that gives verdicts. What one verdict does not need is not loaded; what it has loaded serves the next."""

    def check(
        self, condition: AnyCondition, claim: SpecimenInfo = _UNKNOWN, *, explained: bool = True, advised: bool = True
    ) -> Verdict:
        """Return the verdict under a condition, of which the pixels are resampled to the network's.

        Without reasons and nearest training condition (`explained`), or without what to do (`advised`), it is faster.
        """
        self.require_modality(condition)
        specimen, outside = self.domain.specimen_objections(claim), self.objections(condition)
        if specimen or outside:
            remedy = reasons.into_domain(self.card, "condition" if outside else "specimen")
            return self.cannot_say([*specimen, *outside], remedy)
        prediction = self.predict_condition(condition)
        verdict = self.decided(
            prediction,
            self.reasons(condition, stable=prediction.zone == NAMES[0]) if explained else [],
            assumed=tuple(self.domain.assumptions(claim)),
            nearest=self.nearest(condition) if explained else None,
            caution=self.untuned_note(),
        )
        if not advised:
            return replace(verdict, remedies=())
        if verdict.answer == "no" and not verdict.remedies:
            return replace(verdict, remedies=tuple(self.remedies(condition)))
        return verdict

    def check_image(
        self, micrograph: Micrograph, claim: SpecimenInfo = _UNKNOWN, estimate: Estimate | None = None
    ) -> Verdict:
        """Return the verdict on a micrograph; see `image_verdict.check_image`.

        Raises:
            BadInputError: if the micrograph is too small or its pixels are outside the model's range.
        """
        # A verdict on a condition needs none of what reads, segments and estimates images, which takes half a second to import.
        from passband.verdicts.image_verdict import check_image

        return check_image(self, micrograph, claim, estimate)

    def position(self, condition: AnyCondition) -> tuple[float | None, float]:
        """Return where a condition lies in the plane: the largest σ with a training condition (None if these are unknown), and ε."""
        values = dict(zip(self.predictor("loss", "condition").names, self.features(condition)[0].tolist(), strict=True))
        return values.get("sigma"), values["epsilon"]

    def usual_training_condition(self) -> Condition:
        """Return the training condition of median loss."""
        trained = self.scores.filter(pl.col("role") == "trained").sort("loss")
        return Condition(**json.loads(trained["condition"][len(trained) // 2]))

    def calibration_table(self) -> pl.DataFrame:
        """Return sigma, epsilon, ratio (relative loss), zone, dice, role, label, defocus and dose of each calibration condition."""
        scores, ratio = self.scores, self.scores["loss"].to_numpy() / self.in_domain_loss
        sigma = scores["feature_sigma"] if "feature_sigma" in scores.columns else np.full(len(scores), np.nan)
        return pl.DataFrame(
            {
                "sigma": sigma,
                "epsilon": scores["feature_epsilon"],
                "ratio": ratio,
                "zone": [NAMES[i] for i in zone_of(ratio)],
                "dice": scores["dice"],
                "role": scores["role"],
                "label": [in_short(c) for c in self.calibration],
                "defocus_angstrom": [c.defocus_angstrom for c in self.calibration],
                "dose_per_angstrom2": pl.Series([c.dose_per_angstrom2 for c in self.calibration], dtype=pl.Float64),
            }
        )
