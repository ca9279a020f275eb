"""The verdict on a network: an object with a text, an HTML form and a JSON form."""

import html
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from passband.conditions import AnyCondition, Condition
from passband.learning.particle_scores import TOLERANCE_ANGSTROM
from passband.verdicts.statements import Statement
from passband.verdicts.zones import NAMES, zones

#: Coverage of the intervals.
LEVEL = 0.9
# Probability from which an answer is not called probable.
_SURE = 0.8

Answer = Literal["yes", "no", "cannot say"]
Name = Callable[[str], str]


@dataclass(frozen=True)
class Interval:
    """A predicted number, and the ends of the interval that covers LEVEL of such cases."""

    predicted: float
    low: float
    high: float

    def covers(self, value: float) -> bool:
        """Whether a value lies within the interval."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Prediction:
    """What is predicted of a network: zone, probability of each zone, loss and scores; from a condition, of the mean over many fields."""

    zone: str
    zone_shares: dict[str, float]
    loss: Interval
    dice: Interval
    #: Range of the Dice of 90 % of single fields; None from an image, whose own fields are predicted.
    dice_of_one_field: tuple[float, float] | None = None
    #: None if the model was calibrated before these were scored.
    instance_f1: Interval | None = None
    surface_dice: Interval | None = None

    def scores_in_words(self) -> list[tuple[str, Interval]]:
        """Return title and value of Dice, and of instance F1 and surface Dice if they are predicted."""
        surface = f"surface Dice within {TOLERANCE_ANGSTROM:g} Å"
        named = (("Dice", self.dice), ("instance F1", self.instance_f1), (surface, self.surface_dice))
        return [(title, value) for title, value in named if value is not None]


@dataclass(frozen=True)
class Nearest:
    """The best-matching training condition on the network's pixels, with the metrics of the pair.

    `where` is the part of the plane of metrics that the pair lies in; in it are so many `pairs` of the standard results, in `shares` by zone.
    """

    training_condition: Condition
    where: str
    pairs: int
    shares: dict[str, float]
    metrics: dict[str, float]


@dataclass(frozen=True)
class EstimatedOptics:
    """What the rings of a micrograph give; the defocus is of the film's middle."""

    defocus_angstrom: float | None
    interval_angstrom: tuple[float, ...]
    sign: str | None
    C12: float
    dose_per_angstrom2: float | None
    dose_is_known: bool


@dataclass(frozen=True)
class Verdict:
    """Whether a network works under a condition or on a micrograph, and why. `print` shows it, and so does a notebook.

    Attributes:
        model: name of the model.
        answer: yes (it works), no, or cannot say.
        based_on: condition, or image.
        prediction: None outside the applicability domain.
        in_domain_loss: median loss under the training conditions, or of the best tenth of the calibration conditions if those are unknown.
        trained: whether the training conditions are known.
        reasons: the physics behind the answer.
        cannot_say: why there is no prediction: what lies outside the applicability domain.
        assumed: assumptions where the user gave no information.
        nearest: the best-matching training condition.
        remedies: what to do, alternatives.
        estimated: of an image: its optics, if it shows rings.
        caution: what the prediction does not account for.
    """

    model: str
    answer: Answer
    based_on: Literal["condition", "image"] = "condition"
    prediction: Prediction | None = None
    in_domain_loss: float | None = None
    trained: bool = True
    reasons: tuple[Statement, ...] = ()
    cannot_say: tuple[Statement, ...] = ()
    assumed: tuple[Statement, ...] = ()
    nearest: Nearest | None = None
    remedies: tuple[Statement, ...] = ()
    estimated: EstimatedOptics | None = None
    caution: Statement | None = None

    @property
    def zone(self) -> str | None:
        """stable, degraded or collapse; None outside the applicability domain."""
        return self.prediction.zone if self.prediction else None

    @property
    def relative_loss(self) -> float | None:
        """Predicted loss over the in-domain loss; None outside the applicability domain."""
        return self.prediction.loss.predicted / self.in_domain_loss if self.prediction and self.in_domain_loss else None

    @property
    def loss(self) -> Interval | None:
        """Predicted loss; None outside the applicability domain."""
        return self.prediction.loss if self.prediction else None

    @property
    def dice(self) -> Interval | None:
        """Predicted Dice; None outside the applicability domain."""
        return self.prediction.dice if self.prediction else None

    @property
    def instance_f1(self) -> Interval | None:
        """Predicted F1 of particles; None outside the applicability domain, or if the model was not calibrated for it."""
        return self.prediction.instance_f1 if self.prediction else None

    @property
    def surface_dice(self) -> Interval | None:
        """Predicted share of the outlines within 2 Å of the true ones; None as for `instance_f1`."""
        return self.prediction.surface_dice if self.prediction else None

    @property
    def zone_shares(self) -> dict[str, float]:
        """Probability of each zone; empty outside the applicability domain."""
        return {} if self.prediction is None else self.prediction.zone_shares

    @property
    def advice(self) -> str | None:
        """What to do, as a sentence; None if there is nothing to do."""
        return self.advice_text()

    def advice_text(self, name: Name = str) -> str | None:
        """Return what to do, with parameters written as `name` writes them."""
        return ", or ".join(remedy.text(name) for remedy in self.remedies) or None

    @property
    def headline(self) -> str:
        """The answer in one line."""
        if self.prediction is None:
            return f"cannot say whether {self.model} works here"
        shares = ", ".join(f"{zone} {share:.0%}" for zone, share in self.zone_shares.items() if share >= 0.005)
        return f"{self.answer}, {self.model} {works(self.answer, self.prediction)}: {self.zone} ({shares})"

    def text(self, name: Name = str) -> str:
        """Return the verdict as lines, with each parameter written as `name` writes it: first what decides the answer."""
        if self.prediction is None or self.in_domain_loss is None:
            lines = [f"{self.headline}:", *(f"  {why.text(name)}" for why in self.cannot_say)]
        else:
            loss = self.prediction.loss
            (_, dice), *others = self.prediction.scores_in_words()
            lines = [
                self.headline,
                f"the predicted loss is {loss.predicted / self.in_domain_loss:.1f} × the in-domain loss of {self.in_domain_loss:.3f} ({self._domain}); "
                f"the model works up to {zones().stable_up_to:g} ×",
                f"predicted loss {loss.predicted:.3f}, {LEVEL:.0%} of such cases within {loss.low:.3f} to {loss.high:.3f}",
                f"predicted Dice {dice.predicted:.3f}, {LEVEL:.0%} of such cases within {dice.low:.3f} to {dice.high:.3f}{self._fields}",
            ]
            lines += [
                f"predicted {title} {score.predicted:.3f}, {LEVEL:.0%} of such cases within {score.low:.3f} to {score.high:.3f}"
                for title, score in others
            ]
            lines += [f"note: {self.caution.text(name)}"] if self.caution else []
            lines += [f"why: {why.text(name)}" for why in self.reasons]
            if self.assumed:
                assumed = ", ".join(_assumption(a, name) for a in self.assumed)
                lines.append(f"assumed: {assumed}; the verdict is about no other specimen")
        if self.nearest is not None:
            lines.append(f"nearest training condition: {self._nearest_pair(self.nearest)}")
        if self.remedies:
            lines.append(f"what to do: {self.advice_text(name)}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def headline_html(self, measured: str = "") -> str:
        """Return answer and numbers, with `measured` below, as HTML in a `div` of class `verdict` and works, fails or unknown."""
        kind = {"yes": "works", "no": "fails", "cannot say": "unknown"}[self.answer]
        if self.prediction is None or self.in_domain_loss is None:
            body = f"{html.escape(self.headline)}: {_list([str(why) for why in self.cannot_say])}"
        else:
            loss = self.prediction.loss
            relative = Interval(*(v / self.in_domain_loss for v in (loss.predicted, loss.low, loss.high)))
            rows = "".join(
                f"<tr><td>{title}</td><td><b>{v.predicted:{digits}}</b></td><td>{v.low:{digits}} to {v.high:{digits}}</td></tr>"
                for title, digits, v in (
                    ("loss / in-domain loss", ".1f", relative),
                    ("loss", ".3f", loss),
                    *((title, ".3f", score) for title, score in self.prediction.scores_in_words()),
                )
            )
            notes = [
                f"works up to {zones().stable_up_to:g} × the in-domain loss of {self.in_domain_loss:.3f} ({self._domain})",
                f"Dice {self._fields.removeprefix('; ')}" if self._fields else "",
                str(self.caution or ""),
            ]
            body = (
                f"{html.escape(self.headline.partition(', ')[2])}<table><tr><th></th><th>predicted</th><th>{LEVEL:.0%} of such cases</th></tr>"
                f"{rows}</table>" + "".join(f"<span>{html.escape(note)}</span><br>" for note in notes if note)
            )
        return f'<div class="verdict {kind}"><b>{self.answer}</b><div>{body}{measured}</div></div>'

    def details_html(self, name: Name = str) -> str:
        """Return advice, reasons, assumptions and the nearest training condition as HTML, with parameters written as `name` writes them."""
        advice, near = self.advice_text(name), self.nearest
        parts = {
            "What to do": f"<p>{html.escape(advice)}</p>" if advice else "",
            "Why": _list([why.text(name) for why in self.reasons]),
            "Assumed": _list([a.text(name) for a in self.assumed]),
            "Nearest training condition": f"<p>{html.escape(self._nearest_pair(near))}</p>" if near else "",
        }
        return "".join(f"<h3>{title}</h3>{body}" for title, body in parts.items() if body)

    def _repr_html_(self) -> str:
        return self.headline_html() + self.details_html()

    def to_dict(self, name: Name = str) -> dict[str, Any]:
        """Return the verdict as plain data, its statements as sentences with parameters written as `name` writes them."""
        prediction, near, estimated = self.prediction, self.nearest, self.estimated
        return {
            "model": self.model,
            "answer": self.answer,
            "zone": self.zone,
            "zone_shares": self.zone_shares,
            "loss": None if prediction is None else asdict(prediction.loss),
            "dice": None if prediction is None else asdict(prediction.dice),
            "instance_f1": self.instance_f1 and asdict(self.instance_f1),
            "surface_dice": self.surface_dice and asdict(self.surface_dice),
            "own_loss": self.in_domain_loss,
            "trained": self.trained,
            "level": LEVEL,
            "dice_of_one_field": prediction and prediction.dice_of_one_field,
            "caution": self.caution and self.caution.text(name),
            "reasons": [why.text(name) for why in self.reasons],
            "cannot_say": [why.text(name) for why in self.cannot_say],
            "assumed": [_assumption(a, name) for a in self.assumed],
            "nearest": None if near is None else vars(near) | {"training_condition": near.training_condition.to_dict()},
            "advice": self.advice_text(name),
            "based_on": self.based_on,
            "estimated": estimated and asdict(estimated) | {"interval_angstrom": list(estimated.interval_angstrom)},
        }

    @property
    def _domain(self) -> str:
        return "median under its training conditions" if self.trained else "best tenth of the calibration conditions"

    @property
    def _fields(self) -> str:
        """The spread of single fields beside the interval of the mean."""
        if self.prediction is None or self.prediction.dice_of_one_field is None:
            return ""
        low, high = self.prediction.dice_of_one_field
        return f"; of the mean over many fields: {LEVEL:.0%} of single fields lie within {low:.2f} to {high:.2f}"

    def _nearest_pair(self, near: Nearest) -> str:
        """Return the condition, and the standard results of such pairs if they agree with the answer."""
        sigma, change = near.metrics["sigma"], round(near.metrics["delta_epsilon"], 2) + 0.0
        text = (
            f"{in_short(near.training_condition)}; of what it transmits, {sigma:.0%} reaches the image here, too (σ), "
            f"and in all {abs(change):.2f} {'less' if change < 0 else 'more'} of the band does (Δε)"
        )
        share = near.shares[NAMES[0]]
        if (share >= 0.5) != (self.answer == "yes"):
            return text
        return f"{text}; in the standard results networks trained on one such condition were stable in {share:.0%} of {near.pairs} such cases"


def works(answer: str, prediction: Prediction) -> str:
    """Return whether a network works, in words that say how sure that is."""
    share = prediction.zone_shares[NAMES[0]]
    sure = max(share, 1 - share) >= _SURE or (answer == "no" and prediction.zone == NAMES[0])
    return ("" if sure else "probably ") + ("works" if answer == "yes" else "does not work")


def loss_in_words(answer: str, relative_loss: float | None) -> str:
    """Return how large a loss is that makes a network fail although its Dice may look well; else nothing."""
    if answer != "no" or relative_loss is None or relative_loss <= zones().stable_up_to:
        return ""
    return f"loss {relative_loss:.1f} × in-domain (works up to {zones().stable_up_to:g} ×)"


def in_short(condition: AnyCondition) -> str:
    """Return a condition in a few words."""
    C12, C30 = (condition.aberrations.get(name, 0.0) for name in ("C12", "C30"))
    dose = f", {condition.dose_per_angstrom2:.0f} e/Å²" if condition.dose_per_angstrom2 else ""
    return f"defocus {condition.defocus_angstrom:+.0f} Å, C12 {C12:.0f} Å, C30 {C30 / 1e4:+.1f} µm{dose}"


def _assumption(statement: Statement, name: Name) -> str:
    return f"{statement.text(name)} ({name(str(statement.parameter))})"


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else ""
