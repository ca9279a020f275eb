"""A calibrated model: predictors of its loss, applicability domain, reasons and remedies."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Literal

import numpy as np
import polars as pl

from passband.base.errors import BadInputError
from passband.conditions import AnyCondition, Condition, condition_of
from passband.learning import SEGMENTATION
from passband.metrics.texture import Scattering
from passband.models.card import plain
from passband.models.store import PREDICTOR, SCORES, Model, read_json, require_task
from passband.simulation.modalities import modality_name
from passband.verdicts import reasons
from passband.verdicts.domain import Domain
from passband.verdicts.features import (
    IMAGE_FEATURES,
    LABELS,
    SCATTERING,
    SOURCES,
    TARGETS,
    UNTUNED,
    as_measured,
    as_seen,
    condition_features,
    from_fitted,
    targets_of,
    training_data,
)
from passband.verdicts.predictor import Predictor, restore
from passband.verdicts.scan_domain import ScanDomain
from passband.verdicts.statements import Statement
from passband.verdicts.verdict import LEVEL, Interval, Nearest, Prediction, Verdict
from passband.verdicts.zones import NAMES, best_match, zone_of, zones

# Refuse what is farther than 1.5 × the 99th-percentile nearest-neighbour distance of the calibration.
_TOO_FAR = 1.5
# Share of a micrograph that must be marked.
_LEAST_SHARE = 0.005
# Least share marked of calibration images: an unlike one with less has too little to go by.
_CALIBRATED_SHARE = 0.02
# Share of the calibration images on which two networks agree well enough.
_AGREEING = 0.95
# Dice below which a network is not useful, however near its in-domain loss.
_USEFUL = 0.5
# Probability of stable from which a condition is recommended.
_SURE = 0.8
# Calibration conditions whose single fields stand for those of a condition.
_NEAREST = 60
# Cases that stand for where new images would lie.
_OUTCOMES = 200
# Conditions whose features are remembered.
_REMEMBERED = 1000
# Defoci and factors of the dose that are tried for advice.
_DEFOCI, _DOSES = 40, (2.0, 4.0, 8.0)


class CalibratedModel:
    """What the verdicts on a model rest on. Predictors are loaded when first used, and the domain is projected once."""

    def __init__(self, model: Model):
        """Take a calibrated model; BadInputError if it has not been scored."""
        require_task(model.card, SEGMENTATION.name)
        if model.scores is None or model.card.own_loss is None:
            what = "has not been scored under known conditions, so that no verdict can be given"
            score = f"score it first: passband model score {model.card.name}"
            if model.card.modality == "stem":
                score = "pack it with conditions to score it under: passband model pack STUDY --condition SET"
            raise BadInputError(what, remedy=score, place=model.card.name)
        self.model, self.card = model, model.card
        self.in_domain_loss = model.card.own_loss
        self.scores = model.scores.filter(pl.col("role") != "held_out")
        with self._part(SCORES):
            self.calibration = tuple(condition_of(json.loads(c)) for c in self.scores["condition"])
        self._predictors: dict[tuple[str, str], Predictor] = {}
        self._features: dict[str, np.ndarray] = {}

    @cached_property
    def domain(self) -> Domain:
        """The applicability domain."""
        return (ScanDomain if self.is_scanned else Domain)(self.card, self.calibration)

    def require_modality(self, condition: AnyCondition) -> None:
        """Raise BadInputError for a condition of another kind of microscopy than the model's."""
        if (given := modality_name(condition)) != self.card.modality:
            what = f"is for {self.card.modality.upper()}, and the condition is of {given.upper()}"
            remedy = "give one of the model's modality, or use another model"
            raise BadInputError(what, value=given, limit=self.card.modality, remedy=remedy, place=self.card.name)

    @property
    def is_scanned(self) -> bool:
        """Whether the model is for STEM."""
        return self.card.modality == "stem"

    @cached_property
    def trained(self) -> tuple[Condition, ...]:
        """The training conditions as the network sees them; none if unknown."""
        return tuple(as_measured(c, self.card) for c in self.card.hrtem_conditions)

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """Turn what does not fit in a file of the model into one line."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError, pl.exceptions.PolarsError) as error:
            if isinstance(error, BadInputError) and error.place is not None:
                raise
            what = f"does not fit the model: {plain(str(error), 200)}"
            raise BadInputError(what, remedy="get the model again", place=self.model.folder / name) from None

    @cached_property
    def _saved(self) -> Any:
        return read_json(self.model.folder / PREDICTOR)

    def predictor(self, target: str, source: str) -> Predictor:
        """Return the predictor of a target of `features.TARGETS` from a source of `features.SOURCES`."""
        key = target, source
        if key not in self._predictors:
            with self._part(PREDICTOR):
                names, x, y = training_data(self.scores, source, target)
                self._predictors[key] = restore(self._saved[f"{target}_from_{source}"], x, y)
                if self._predictors[key].names != names:
                    raise ValueError(f"its features are not those of {SCORES}")
        return self._predictors[key]

    def features(self, condition: AnyCondition) -> np.ndarray:
        """Return the features of a condition, in the predictors' order, shape [1, D]."""
        if condition.id not in self._features:
            self.prepare([condition])
        return self._features[condition.id]

    def prepare(self, conditions: Sequence[AnyCondition]) -> None:
        """Compute the features of several conditions at once, which is faster than one by one."""
        if len(self._features) + len(conditions) > _REMEMBERED:
            self._features.clear()
        table = self._table_of(conditions)
        self._features |= {c.id: table[i : i + 1] for i, c in enumerate(conditions)}

    def _table_of(self, conditions: Sequence[AnyCondition]) -> np.ndarray:
        """Return the features of conditions, shape [B, D]."""
        features = condition_features(self.card, conditions, self.trained)
        with self._part(SCORES):
            return np.stack([features[name] for name in self.predictor("loss", "condition").names], axis=-1)

    def predict(self, features: np.ndarray, source: str = "condition") -> Prediction:
        """Return zone, loss, Dice, instance F1 and surface Dice predicted from features [1, D] of a source; the last two None if not calibrated.

        From a condition the intervals are of the mean over many fields of specimens like the calibrated ones; few fields scatter more.
        """
        [prediction] = self.predict_each(features, source)
        return prediction

    def predict_each(self, features: np.ndarray, source: str = "condition") -> list[Prediction]:
        """Return what `predict` does for each of features [B, D]."""
        means, reaches, outcomes = self._distribution("loss", source, features)
        losses = from_fitted("loss", np.stack([means, means - reaches, means + reaches], axis=-1)).tolist()
        scores = {target: self._scores_of(target, source, features) for target in self._score_targets(source)}
        predictions = []
        for i, likely in enumerate(np.exp(outcomes) / self.in_domain_loss):
            shares = np.bincount(zone_of(likely), minlength=len(NAMES)) / len(likely)
            # Stable only if that is the better bet; between degraded and collapse the larger.
            zone = NAMES[0] if shares[0] >= 0.5 else NAMES[1 + int(shares[2] > shares[1])]
            each = {target: score[i] for target, score in scores.items()}
            one_field = self._dice_of_one_field(each["dice"].predicted) if source == "condition" else None
            of_zones = dict(zip(NAMES, shares.tolist(), strict=True))
            predictions.append(Prediction(zone, of_zones, Interval(*losses[i]), dice_of_one_field=one_field, **each))
        return predictions

    def _score_targets(self, source: str) -> list[str]:
        """Return the targets but the loss that can be predicted from a source: those scored, and for images of a tuned model, measured on labels."""
        labels = None if source == "condition" else self._labels
        return [t for t in targets_of(self.scores)[1:] if labels is None or t in labels]

    def _scores_of(self, target: str, source: str, features: np.ndarray) -> list[Interval]:
        """Return a score predicted from each of features [B, D]; the fitted value rises with its error."""
        means, reaches, _ = self._distribution(target, source, features)
        ends = from_fitted(target, np.stack([means, means + reaches, means - reaches], axis=-1))
        return [Interval(*each) for each in ends.tolist()]

    def _distribution(
        self, target: str, source: str, features: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a target's predicted mean [B], the half-width of its interval [B], and where new cases would lie [B, n], if they deviate as known ones did.

        Known ones are the calibration conditions that were left out; for images of a tuned model, the labelled images, which were held out:
        few, so that they are taken as normal (a Student interval of a new case).
        """
        predictor = self.predictor(target, source)
        means, deviations = predictor.predict(features)
        if self._labels is None or source == "condition":
            outcomes = means[:, None] + deviations[:, None] * predictor.residuals
            return means, predictor.quantile(LEVEL) * deviations, outcomes
        residuals = np.array(self._labels[target], dtype=float)
        # Imported here because it takes half a second, and few models are corrected.
        from scipy import stats

        scale = residuals.std(ddof=1) * np.sqrt(1 + 1 / len(residuals))
        law = stats.t(len(residuals) - 1, 0, scale)
        centre, places = means + residuals.mean(), law.ppf((np.arange(_OUTCOMES) + 0.5) / _OUTCOMES)
        return centre, np.full(len(means), law.ppf((1 + LEVEL) / 2)), centre[:, None] + places

    @cached_property
    def _labels(self) -> dict[str, Any] | None:
        """What labelled images correct the predictions from images by; None without."""
        with self._part(PREDICTOR):
            if LABELS not in self._saved:
                return None
            labels = dict(self._saved[LABELS])
            return {k: labels[k] for k in (*TARGETS, "distance") if k in labels or k in ("loss", "dice", "distance")}

    def labels_note(self) -> Statement | None:
        """Return what verdicts on images are calibrated on, of a tuned model with enough labelled images."""
        return None if self._labels is None else Statement("labelled", value=len(self._labels["dice"]))

    def untuned_note(self) -> Statement | None:
        """Return whose calibration verdicts rest on, of a tuned model that was not scored again."""
        return Statement("untuned", value=plain(str(self._saved[UNTUNED]), 64)) if UNTUNED in self._saved else None

    def _dice_of_one_field(self, dice: float) -> tuple[float, float]:
        """Return the range of the Dice of LEVEL of single fields, as under the calibration conditions with the nearest mean Dice."""
        mean, one = (TARGETS["dice"](self.scores[name].to_numpy()) for name in ("dice", f"dice_{SOURCES[1]}"))
        logit = float(TARGETS["dice"](np.array(dice)))
        nearest = np.abs(mean - logit).argsort()[:_NEAREST]
        ends = logit + np.quantile((one - mean)[nearest], [(1 + LEVEL) / 2, (1 - LEVEL) / 2])
        low, high = from_fitted("dice", ends).tolist()
        return low, high

    def predict_condition(self, condition: AnyCondition) -> Prediction:
        """Return the prediction under a condition."""
        return self.predict(self.features(condition))

    def objections(self, condition: AnyCondition) -> list[Statement]:
        """Return why a condition is outside the applicability domain."""
        return self.domain.objections(condition) or self._far(
            self.features(condition), "condition", "unlike_conditions"
        )

    def predictions(self, conditions: Sequence[AnyCondition]) -> list[Prediction | list[Statement]]:
        """Return the prediction under each condition, or why it is outside the applicability domain; faster than one by one."""
        answers: dict[int, Prediction | list[Statement]] = {
            i: objections for i, c in enumerate(conditions) if (objections := self.domain.objections(c))
        }
        inside = [i for i in range(len(conditions)) if i not in answers]
        if inside:
            table = self._table_of([conditions[i] for i in inside])
            for i, features, prediction in zip(inside, table, self.predict_each(table), strict=True):
                answers[i] = self._far(features[None], "condition", "unlike_conditions") or prediction
        return [answers[i] for i in range(len(conditions))]

    def image_objections(self, features: np.ndarray, source: str, marked: float | None = None) -> list[Statement]:
        """Return why an image with features [1, D] of a source, of which a share is marked (else estimated), is outside the applicability domain."""
        marked = float(features[0, 2]) if marked is None else marked
        # Images like the labelled ones are known, too.
        known = self._labels["distance"] if self._labels else 0.0
        unlike = self._far(features, source, "unlike_images", known) or self._disagreement(features, source)
        least = _CALIBRATED_SHARE if unlike else _LEAST_SHARE
        return [Statement("few_particles", value=marked, limit=least)] if marked < least else unlike

    def _disagreement(self, features: np.ndarray, source: str) -> list[Statement]:
        """Return that two networks disagree more than on most calibration images, if there are two that mark the same edges and they do."""
        if len(IMAGE_FEATURES) > features.shape[1] or self._labels or self.card.edge_offset_angstrom:
            return []
        usual = float(np.quantile([row[-1] for row in self.scores[source].to_list()], _AGREEING))
        dice, limit = (1 - math.exp(value) for value in (float(features[0, -1]), usual))
        return [Statement("networks_disagree", value=dice, limit=limit)] if dice < limit else []

    def _far(self, features: np.ndarray, source: str, kind: str, known: float = 0.0) -> list[Statement]:
        distance, limit = float(self.predictor("loss", source).distance(features)[0]), max(_TOO_FAR, known)
        return [Statement(kind, value=distance, limit=limit)] if distance > limit else []

    def reasons(self, condition: AnyCondition, *, stable: bool = True) -> list[Statement]:
        """Return how a condition differs from the training conditions; see `reasons.of_condition` and `of_scan`."""
        if self.is_scanned:
            names = self.predictor("loss", "condition").names
            rows = self.scores.filter(pl.col("role") == "trained").select(f"feature_{name}" for name in names)
            return reasons.of_scan(names, rows.to_numpy(), self.features(condition)[0], stable=stable)
        seen: Any = as_measured(condition, self.card)
        return reasons.of_condition(
            self.trained, seen, self.card.q_max_per_angstrom, stable=stable, specimens=self.scattering
        )

    @cached_property
    def scattering(self) -> Scattering | None:
        """What the specimens scatter that the model was calibrated on; None if that is not known."""
        with self._part(PREDICTOR):
            return Scattering.from_dict(self._saved[SCATTERING]) if SCATTERING in self._saved else None

    def nearest(self, condition: AnyCondition) -> Nearest | None:
        """Return the best-matching training condition; None if these are unknown, and for STEM, of which there are no standard results."""
        if not self.trained:
            return None
        seen: Any = as_measured(condition, self.card)
        index, leaf, pair = best_match(self.trained, seen)
        trained = as_seen(self.card.hrtem_conditions[index], self.card)
        return Nearest(trained, leaf.where, leaf.pairs, leaf.shares, pair)

    def cannot_say(self, objections: Sequence[Statement], *remedies: Statement) -> Verdict:
        """Return the verdict outside the applicability domain."""
        return Verdict(self.card.name, "cannot say", cannot_say=tuple(objections), remedies=remedies)

    def decided(self, prediction: Prediction, why: Sequence[Statement], **facts: Any) -> Verdict:
        """Return the verdict of a prediction: yes where the loss stays near the in-domain loss and the Dice is useful.

        Where the network is stable but not useful, another one is the remedy. `facts` are further attributes of the verdict.
        """
        stable, useful = prediction.zone == NAMES[0], prediction.dice.predicted >= _USEFUL
        useless = [] if useful else [Statement("useless_everywhere" if stable else "useless", "dice")]
        return Verdict(
            self.card.name,
            answer_of(prediction),
            prediction=prediction,
            in_domain_loss=self.in_domain_loss,
            trained=bool(self.card.conditions),
            reasons=(*useless, *why),
            remedies=(Statement("other_model"),) if stable and not useful else (),
            **facts,
        )

    def remedies(self, condition: AnyCondition) -> list[Statement]:
        """Return what to do under a condition where the network does not work: the nearest defocus where it does, more dose, or training."""
        known: dict[AnyCondition, Prediction] = {}
        cures = []
        for other, prediction in self._predicted(self._other_defoci(condition)).items():
            known[other] = prediction
            if surely_works(prediction):
                cures.append(Statement("defocus", "defocus_angstrom", other.defocus_angstrom, prediction.dice))
                break
        dose = condition.dose_per_angstrom2
        for factor in _DOSES if dose is not None else ():
            other = condition.model_copy(update={"dose_per_angstrom2": (dose or 0.0) * factor})
            if self.objections(other):
                break
            if self.predict_condition(other).zone_shares[NAMES[0]] >= _SURE:
                cures.append(Statement("raise_dose", "dose_per_angstrom2", other.dose_per_angstrom2))
                break
        if cures:
            return cures
        if not known:
            return [reasons.into_domain(self.card, "condition")]
        best = min(known, key=lambda c: known[c].loss.predicted)
        relative, detail = known[best].loss.predicted / self.in_domain_loss, {"defocus": best.defocus_angstrom}
        return [Statement("retrain", "conditions", relative, zones().stable_up_to, detail)]

    def where_it_works(self) -> list[Statement]:
        """Return what to do if nothing is known of the optics: record at the defoci where the network works, otherwise as in the calibration."""
        reference = self.domain.reference()
        others = sorted(self._other_defoci(reference), key=lambda c: c.defocus_angstrom)
        good = {c: p.dice.predicted for c, p in self._predicted(others).items() if surely_works(p)}
        if not good:
            return [Statement("other_model")]
        best = max(good, key=lambda c: good[c])
        lowest = highest = others.index(best)
        while lowest and others[lowest - 1] in good:
            lowest -= 1
        while highest + 1 < len(others) and others[highest + 1] in good:
            highest += 1
        dose = reference.dose_per_angstrom2
        ends = others[lowest].defocus_angstrom, others[highest].defocus_angstrom
        detail = {"best": best.defocus_angstrom, "dose": "" if dose is None else f" and {dose:.3g} e/Å²"}
        return [Statement("range", "defocus_angstrom", good[best], ends, detail)]

    def _predicted(self, conditions: Sequence[AnyCondition]) -> dict[AnyCondition, Prediction]:
        """Return the predictions under the conditions inside the applicability domain."""
        answers = zip(conditions, self.predictions(conditions), strict=True)
        return {condition: answer for condition, answer in answers if isinstance(answer, Prediction)}

    def _other_defoci(self, condition: AnyCondition) -> list[AnyCondition]:
        """Return a condition at defoci over the calibrated range, nearest first."""
        values = [c.defocus_angstrom for c in self.calibration]
        count = int(min((max(values) - min(values)) / 10, _DEFOCI)) + 1
        defoci = np.unique(np.linspace(min(values), max(values), count).round(-1 if count > 1 else 6))
        nearest = sorted(defoci, key=lambda d: abs(d - condition.defocus_angstrom))
        return [condition.varied({"C10": -float(d)}) for d in nearest]


def answer_of(prediction: Prediction) -> Literal["yes", "no"]:
    """Return yes where the loss stays near the in-domain loss and the Dice is useful, else no."""
    return "yes" if prediction.zone == NAMES[0] and prediction.dice.predicted >= _USEFUL else "no"


def surely_works(prediction: Prediction) -> bool:
    """Return whether a condition is recommended: it works with a probability of 0.8 or more."""
    return prediction.zone_shares[NAMES[0]] >= _SURE and prediction.dice.predicted >= _USEFUL
