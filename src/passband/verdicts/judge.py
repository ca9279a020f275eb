"""The verdict: will this network hold under this condition, or on this micrograph, how sure is that, why, and what to do?"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.models.store import PREDICTOR, Model
from passband.verdicts import reasons
from passband.verdicts.domain import SpecimenInfo, assumptions, condition_objections, specimen_objections
from passband.verdicts.features import IMAGE_FEATURES, as_measured, as_seen, condition_features, training_data
from passband.verdicts.predictor import Predictor, restore
from passband.verdicts.zones import NAMES, pairs_like, zone_of, zones

#: Share of new conditions whose loss the interval is meant to hold.
LEVEL = 0.9
# Further from all that was scored than this many of the largest usual distances, nothing is said.
_TOO_FAR = 1.5
#: Share of a micrograph that has to be marked.
LEAST_SHARE = 0.005
# Dice below which a network is of no use, however little it loses against its own.
_USEFUL = 0.5
_USELESS = "use another model, or train one: passband design, then passband train"
# Probability of stable from which a defocus is one to go to.
_SURE = 0.8
# Conditions whose features are kept.
_KEPT = 1000
# Defoci that are tried for advice.
_DEFOCI = 40


@dataclass(frozen=True)
class Verdict:
    """What passband says of a network under a condition.

    Attributes:
        model: its name.
        answer: yes (it holds), no, or cannot say.
        zone: stable, degraded or collapse; None if nothing can be said.
        zone_shares: probability of each.
        loss, dice: predicted, low and high, the interval for `level` of conditions like this.
        own_loss: median loss under the conditions the network was trained on, or the best tenth of the scored ones where those are not known.
        trained: whether they are known.
        level: of the intervals.
        reasons: the physics behind it, in sentences.
        cannot_say: why nothing can be said, in sentences.
        assumed: what was taken for granted of the specimen because nobody said otherwise, in sentences.
        nearest: the training condition that serves this one best, and what the studies say of such pairs.
        advice: what to do.
        based_on: condition, or image.
        estimated: of an image: what its rings say of the optics, if there are any.
    """

    model: str
    answer: str
    zone: str | None = None
    zone_shares: dict[str, float] = field(default_factory=dict)
    loss: dict[str, float] | None = None
    dice: dict[str, float] | None = None
    own_loss: float | None = None
    trained: bool = True
    level: float = LEVEL
    reasons: list[str] = field(default_factory=list)
    cannot_say: list[str] = field(default_factory=list)
    assumed: list[str] = field(default_factory=list)
    nearest: dict[str, Any] | None = None
    advice: str | None = None
    based_on: str = "condition"
    estimated: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data."""
        return asdict(self)


class Judge:
    """What a model's scores say of any condition: predictors of loss and Dice, and where they hold."""

    def __init__(self, model: Model):
        """Restore the predictors.

        Raises:
            BadInputError: if the model has not been scored.
        """
        if model.scores is None:
            raise BadInputError(
                f"{model.card.name}: has not been scored under known conditions, so that no verdict can be given; `passband model score` does it"
            )
        self.model, self.card = model, model.card
        kept = json.loads((model.folder / PREDICTOR).read_text(encoding="utf-8"))
        self.fitted = model.scores.filter(model.scores["role"] != "held_out")
        self._predictors: dict[str, Predictor] = {}
        self._features: dict[str, np.ndarray] = {}
        for name, parameters in kept.items():
            target, _, source = name.split("_")
            _, x, y = training_data(self.fitted, source, target)
            self._predictors[name] = restore(parameters, x, y)
        self.scored = [Condition(**json.loads(c)) for c in self.fitted["condition"]]

    def predictor(self, target: str, source: str) -> Predictor:
        """Return what predicts loss or dice from a condition or an image."""
        return self._predictors[f"{target}_from_{source}"]

    def features(self, condition: Condition) -> np.ndarray:
        """Return the features of a condition, in the predictors' order, shape [1, D]."""
        features = self._features.get(condition.id)
        if features is None:
            if len(self._features) >= _KEPT:
                self._features.clear()
            found = condition_features(self.card, [condition])
            features = np.array([[found[name][0] for name in self.predictor("loss", "condition").names]])
            self._features[condition.id] = features
        return features

    def seen_in_training(self, source: str) -> np.ndarray:
        """Return the image features of a source under each training condition, shape [B, D]."""
        own = self.fitted.filter(self.fitted["role"] == "trained")[source].to_list()
        return np.array(own, dtype=float).reshape(len(own), len(IMAGE_FEATURES))

    def numbers(self, features: np.ndarray, source: str) -> dict[str, Any]:
        """Return zone, zone_shares, loss and dice predicted from features [1, D], and the network's own loss.

        From a condition the intervals are of the mean over many fields of specimens like those studied; few fields scatter more.
        """
        assert self.card.own_loss is not None
        predictor = self.predictor("loss", source)
        [mean], [deviation] = predictor.predict(features)
        reach = predictor.quantile(LEVEL) * deviation
        # Where new conditions would lie, if they deviate as those that were left out did.
        drawn = np.exp(mean + deviation * predictor.residuals) / self.card.own_loss
        shares = np.bincount(zone_of(drawn), minlength=len(NAMES)) / len(drawn)
        # Yes only if that is the better bet; between degraded and collapse the larger.
        zone = NAMES[0] if shares[0] >= 0.5 else NAMES[1 + int(shares[2] > shares[1])]
        logit = self.predictor("dice", source)
        [d_mean], [d_deviation] = logit.predict(features)
        d_reach = logit.quantile(LEVEL) * d_deviation
        return {
            "own_loss": self.card.own_loss,
            "trained": bool(self.card.conditions),
            "zone": zone,
            "zone_shares": dict(zip(NAMES, shares.tolist(), strict=True)),
            "loss": {
                "predicted": float(np.exp(mean)),
                "low": float(np.exp(mean - reach)),
                "high": float(np.exp(mean + reach)),
            },
            "dice": {
                "predicted": _dice(d_mean),
                "low": _dice(d_mean + d_reach),
                "high": _dice(d_mean - d_reach),
            },
        }

    def verdict(self, numbers: dict[str, Any], why: list[str], advice: Callable[[], str], **more: Any) -> Verdict:
        """Return the verdict that numbers of `numbers` come to: yes where the loss stays near the network's own and the Dice is of use.

        Args:
            numbers: zone, loss and Dice.
            why: reasons.
            advice: gives what to do; asked only where the network does not hold.
            more: further fields of the verdict.
        """
        near_own, useful = numbers["zone"] == NAMES[0], numbers["dice"]["predicted"] >= _USEFUL
        if near_own and useful:
            return Verdict(self.card.name, "yes", **numbers, reasons=why, **more)
        if not useful:
            poor = "a Dice below 0.5 marks more wrongly than rightly"
            why = [f"{poor}, and it is no better under its own conditions" if near_own else poor, *why]
        return Verdict(self.card.name, "no", **numbers, reasons=why, advice=_USELESS if near_own else advice(), **more)

    def prepare(self, conditions: list[Condition]) -> None:
        """Compute the features of several conditions at once, which takes less time than one by one."""
        if not conditions:
            return
        found, names = condition_features(self.card, conditions), self.predictor("loss", "condition").names
        for i, condition in enumerate(conditions):
            self._features[condition.id] = np.array([[found[name][i] for name in names]])

    def nearest(self, condition: Condition) -> dict[str, Any] | None:
        """Return the training condition that serves a condition best and what the studies say of such pairs; None if unknown."""
        if not self.card.conditions:
            return None
        place, said = pairs_like(
            [as_measured(c, self.card) for c in self.card.conditions], as_measured(condition, self.card)
        )
        return {"training_condition": as_seen(self.card.conditions[place], self.card).to_dict(), **said}

    def image_objections(self, features: np.ndarray, source: str) -> list[str]:
        """Return why nothing can be said of an image with features [1, D], judged as a source of `features.SOURCES`, in sentences."""
        if features[0, 2] < LEAST_SHARE:
            return [
                f"the network marks {features[0, 2]:.1%} of the image, and a verdict needs particles to be judged by"
            ]
        distance = float(self.predictor("loss", source).distance(features)[0])
        if distance <= _TOO_FAR:
            return []
        return [
            f"its power spectrum, and what the network makes of it, are {distance:.1f} times as far from those of every image studied as these are from each other at most"
        ]

    def objections(self, condition: Condition) -> list[str]:
        """Return why nothing can be said of a condition, in sentences."""
        found = condition_objections(self.card, self.scored, condition)
        if not found:
            distance = float(self.predictor("loss", "condition").distance(self.features(condition))[0])
            if distance > _TOO_FAR:
                found.append(
                    f"it is {distance:.1f} times as far from every condition studied as those are from each other at most"
                )
        return found


def check_condition(model: Model, condition: Condition, claim: SpecimenInfo = SpecimenInfo()) -> Verdict:  # noqa: B008
    """Return the verdict on a network under a condition.

    Args:
        model: the network.
        condition: of the microscope; its pixels are brought to the network's.
        claim: what the user says of the specimen.

    Raises:
        BadInputError: if the model has not been scored.
    """
    judge = Judge(model)
    specimen, beyond = specimen_objections(judge.card, claim), judge.objections(condition)
    if specimen or beyond:
        advice = reasons.beyond(model.card, "condition" if beyond else "specimen")
        return Verdict(model.card.name, "cannot say", cannot_say=[*specimen, *beyond], advice=advice)
    numbers = judge.numbers(judge.features(condition), "condition")
    return judge.verdict(
        numbers,
        reasons.of_condition(judge.card, condition, holds=numbers["zone"] == NAMES[0]),
        lambda: advise(judge, condition),
        assumed=assumptions(judge.card, claim),
        nearest=judge.nearest(condition),
    )


def advise(judge: Judge, condition: Condition) -> str:
    """Return what to do about a condition under which a network does not hold: the nearest defocus that does, more dose, or other training."""
    held, best = zones()["stable_up_to"], None
    assert judge.card.own_loss is not None
    values, now = [c.defocus_angstrom for c in judge.scored], condition.defocus_angstrom
    count = int(min((max(values) - min(values)) / 10, _DEFOCI)) + 1
    defoci = np.unique(np.linspace(min(values), max(values), count).round(-1 if count > 1 else 6))
    others = [condition.varied({"C10": -float(d)}) for d in sorted(defoci, key=lambda d: abs(d - now))]
    judge.prepare(others)
    cures: list[str] = []
    for other in others:
        if judge.objections(other):
            continue
        found = judge.numbers(judge.features(other), "condition")
        if found["zone_shares"][NAMES[0]] >= _SURE and found["dice"]["predicted"] >= _USEFUL:
            dice = found["dice"]
            cures.append(
                f"go to a defocus of {other.defocus_angstrom:+.0f} Å: there it is predicted to hold, Dice {dice['predicted']:.2f} [{dice['low']:.2f}, {dice['high']:.2f}]"
            )
            break
        if best is None or found["loss"]["predicted"] < best[1]["loss"]["predicted"]:
            best = other.defocus_angstrom, found
    dose = condition.dose_per_angstrom2
    for factor in (2.0, 4.0, 8.0) if dose is not None else ():
        other = condition.model_copy(update={"dose_per_angstrom2": (dose or 0.0) * factor})
        if judge.objections(other):
            break
        if judge.numbers(judge.features(other), "condition")["zone_shares"][NAMES[0]] >= _SURE:
            cures.append(f"raise the dose to {other.dose_per_angstrom2:.3g} e/Å²: there it is predicted to hold")
            break
    if cures:
        return ", or ".join(cures)
    if best is None:
        return reasons.beyond(judge.card, "condition")
    better = f" (best: {best[0]:+.0f} Å, {best[1]['loss']['predicted'] / judge.card.own_loss:.1f} times its own loss)"
    return f"no defocus brings it surely below {held:g} times its own loss{better}; train on a set that includes such conditions: passband design, then passband train"


def _dice(logit: float) -> float:
    return float(1 / (1 + np.exp(logit)))
