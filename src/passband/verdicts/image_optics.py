"""The optics behind a verdict on a micrograph: what its rings say of the condition, and whether that explains what the network does."""

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.estimation.estimate import Estimate, estimate
from passband.micrographs.micrograph import Micrograph
from passband.verdicts import reasons
from passband.verdicts.domain import condition_objections, spherical, typical
from passband.verdicts.judge import Judge, advise

_SPECIMEN = (
    "the optics do not explain it, so look at specimen, film and camera; what is not as in training needs a network of its own: "
    "passband design, then passband train"
)
_ASK = "compare with a verdict on the condition itself: passband check --condition; it says to which defocus to go"


@dataclass(frozen=True)
class Optics:
    """What the rings of a micrograph add to its verdict.

    Attributes:
        objections: why nothing can be said, in sentences: optics that were not studied.
        reasons: in sentences.
        nearest: training condition, as `Judge.nearest` gives it; of underfocus, where the sign is not known.
        advice: what to do, if the network does not hold.
        estimated: defocus (of the film's middle), interval, sign, C12, dose and whether it was taken for granted; None without rings.
    """

    objections: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    nearest: dict[str, Any] | None = None
    advice: str = _ASK
    estimated: dict[str, Any] | None = None


def estimated(judge: Judge, micrograph: Micrograph) -> Estimate | None:
    """Return the estimate of a micrograph's optics that goes with a network, or None if there can be none.

    Energy and C30 are the studied ones where the image does not say. Where C30 was varied, it is not known, and the estimate tells no
    sign of the defocus.

    Args:
        judge: of the network.
        micrograph: the image.
    """
    value, known = spherical(judge.scored, judge.card.q_max_per_angstrom)
    try:
        found = estimate(micrograph, energy_ev=micrograph.energy_ev or judge.scored[0].energy_ev, C30=round(value, -3))
    except BadInputError:
        return None
    return found if known else found.of_either_sign()


def optics_of(judge: Judge, found: Estimate | None) -> Optics:
    """Return what the rings of a micrograph say, and what follows for a network; nothing if there are none.

    What rings do not say is taken to be as it mostly was when the network was studied; so is a dose that nobody knows.

    Args:
        judge: of the network.
        found: the estimate of the micrograph's optics, of `estimated`.
    """
    if found is None:
        return Optics()
    if not found.has_rings:
        return Optics(reasons=[found.notes[0]])
    signs = [found.sign] if found.sign else ["underfocus", "overfocus"]
    conditions = {sign: _condition(judge, found, sign) for sign in signs}
    first = conditions[signs[0]]
    said = _as_data(found, first)
    beyond = [condition_objections(judge.card, judge.scored, _least(judge, found, s, c)) for s, c in conditions.items()]
    if all(beyond):
        return Optics(objections=[f"{_words(found)}: {why}" for why in beyond[0]], estimated=said)
    why, holds = _why(judge, found, conditions)
    advice = _ASK if not holds else _SPECIMEN if all(holds) else advise(judge, first)
    return Optics(reasons=why, nearest=judge.nearest(first), advice=advice, estimated=said)


def _why(judge: Judge, found: Estimate, conditions: dict[str, Condition]) -> tuple[list[str], list[bool]]:
    """Return reasons, and under which of the conditions, if anything can be said of them, the network would hold on specimens studied."""
    lines = {sign: reasons.of_condition(judge.card, c) for sign, c in conditions.items()}
    common = functools.reduce(lambda a, b: [line for line in a if line in b], lines.values())
    said = [_words(found), *common]
    said += [f"if {sign}, {line}" for sign, own in lines.items() for line in own if line not in common]
    tried = [judge.numbers(judge.features(c), "condition") for c in conditions.values() if not judge.objections(c)]
    if tried:
        dice = " or ".join(sorted({f"{numbers['dice']['predicted']:.2f}" for numbers in tried}))
        said.append(
            f"under such optics, on the specimens studied, a Dice of {dice} is predicted{'' if found.dose_per_angstrom2 else ', for a usual dose'}"
        )
    return said, [numbers["zone"] == "stable" for numbers in tried]


def _behind(judge: Judge) -> float:
    """Return how far the exit plane lies behind the film's middle, usually [Å]: rings tell the latter, conditions count from the former."""
    known = judge.card.scored_on or judge.card.specimens
    film, particles = known.thickness_angstrom, known.diameter_angstrom
    return (0.0 if film is None else sum(film) / 4) + (0.0 if particles is None else sum(particles) / 2)


def _condition(judge: Judge, found: Estimate, sign: str) -> Condition:
    """Return the estimated condition under a sign; the rings fade for more reasons than a focal spread, so that it stays as studied."""
    own, usual = found.condition(sign), typical(judge.scored)
    spreads = [c.focal_spread_angstrom for c in judge.scored]
    changed = {name: own.aberrations.get(name, 0.0) for name in ("C12", "phi12", "C30")}
    return usual.varied(
        {
            **changed,
            "C10": own.aberrations.get("C10", 0.0) - _behind(judge),
            "focal_spread_angstrom": float(np.clip(own.focal_spread_angstrom, min(spreads), max(spreads))),
            "pixel_size_angstrom": found.pixel_size_angstrom,
        }
    ).model_copy(update={"dose_per_angstrom2": found.dose_per_angstrom2 or usual.dose_per_angstrom2})


def _least(judge: Judge, found: Estimate, sign: str, condition: Condition) -> Condition:
    """Return the condition within the intervals of defocus and C12 that is nearest to what was studied."""
    reading = found.underfocus if sign == "underfocus" else found.overfocus
    assert reading is not None
    behind, defoci = _behind(judge), [c.defocus_angstrom for c in judge.scored]
    across = [abs(c.aberrations.get("C12", 0.0)) for c in judge.scored]
    middle, C12 = np.clip(
        [reading.defocus_angstrom + behind, reading.C12], [min(defoci), min(across)], [max(defoci), max(across)]
    )
    C12 = np.clip(C12, max(reading.C12 - 2 * reading.C12_deviation, 0.0), reading.C12 + 2 * reading.C12_deviation)
    low, high = (end + behind for end in reading.interval_angstrom)
    return condition.varied({"C10": -float(np.clip(middle, low, high)), "C12": float(C12)})


def _words(found: Estimate) -> str:
    low, high = found.interval_angstrom or (0.0, 0.0)
    reading = found.overfocus if found.sign == "overfocus" else found.underfocus
    assert reading is not None and found.defocus_angstrom is not None
    sign = found.sign or "defocus, of either sign,"
    dose = "" if found.dose_per_angstrom2 is None else f", its counts a dose of {found.dose_per_angstrom2:.3g} e/Å²"
    return f"its rings give {sign} of {found.defocus_angstrom:.0f} Å ({low:.0f} to {high:.0f}) at the film's middle, and C12 {reading.C12:.0f} Å{dose}"


def _as_data(found: Estimate, condition: Condition) -> dict[str, Any]:
    return {
        "defocus_angstrom": found.defocus_angstrom,
        "interval_angstrom": list(found.interval_angstrom or ()),
        "sign": found.sign,
        "C12": condition.aberrations.get("C12", 0.0),
        "dose_per_angstrom2": condition.dose_per_angstrom2,
        "dose_is_known": found.dose_per_angstrom2 is not None,
    }
