"""The optics behind a verdict on a micrograph: what its rings say of the condition, and whether that explains what the network does."""

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from passband.conditions import ImagingCondition
from passband.deploy import reasons
from passband.deploy.check import Judge, advise
from passband.deploy.estimate import Estimate, estimate
from passband.deploy.micrograph import Micrograph
from passband.deploy.studied import condition_objections
from passband.errors import BadInputError

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
        estimated: defocus, interval, sign, C12, dose and whether it was taken for granted; None without rings.
    """

    objections: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    nearest: dict[str, Any] | None = None
    advice: str = _ASK
    estimated: dict[str, Any] | None = None


def optics_of(judge: Judge, micrograph: Micrograph, found: Estimate | None = None) -> Optics:
    """Return what the rings of a micrograph say, and what follows for a network; nothing if there are none.

    Energy and C30 are the studied ones where the image does not say, and a dose that nobody knows is the median of training.

    Args:
        judge: of the network.
        micrograph: the image.
        found: its estimate, if it has been made already.
    """
    if found is None:
        spherical = float(np.median([c.aberrations.get("C30", 0.0) for c in judge.scored]))
        energy = micrograph.energy_ev or judge.scored[0].energy_ev
        try:
            found = estimate(micrograph, energy_ev=energy, C30=round(spherical, -3))
        except BadInputError:
            return Optics()
    if not found.found:
        return Optics(reasons=[found.notes[0]])
    conditions = _conditions(judge, found)
    said = _as_data(found, next(iter(conditions.values())))
    beyond = [condition_objections(judge.card, judge.scored, c) for c in _least(judge, found, conditions).values()]
    if all(beyond):
        return Optics(objections=[f"{_words(found)}: {why}" for why in beyond[0]], estimated=said)
    first = next(iter(conditions.values()))
    why, explained = _why(judge, found, conditions)
    return Optics(
        reasons=why,
        nearest=judge.nearest(first),
        advice=advise(judge, first) if explained else _SPECIMEN,
        estimated=said,
    )


def _why(judge: Judge, found: Estimate, conditions: dict[str, ImagingCondition]) -> tuple[list[str], bool]:
    """Return reasons, and whether optics like these let the network fail on specimens that it was studied on."""
    lines = {sign: reasons.of_condition(judge.card, c) for sign, c in conditions.items()}
    common = functools.reduce(lambda a, b: [line for line in a if line in b], lines.values())
    said = [_words(found), *common]
    said += [f"if {sign}, {line}" for sign, own in lines.items() for line in own if line not in common]
    tried = [judge.numbers(judge.features(c), "condition") for c in conditions.values() if not judge.objections(c)]
    holds = [numbers["zone"] == "stable" for numbers in tried]
    if tried:
        dice = " or ".join(sorted({f"{numbers['dice']['predicted']:.2f}" for numbers in tried}))
        said.append(
            f"under such optics, on the specimens studied, a Dice of {dice} is predicted{'' if found.dose_per_angstrom2 else ', for a usual dose'}"
        )
    return said, not (holds and all(holds))


def _conditions(judge: Judge, found: Estimate) -> dict[str, ImagingCondition]:
    """Return the estimated condition by sign, of both where it is not known."""
    doses = [c.dose_per_angstrom2 for c in judge.scored if c.dose_per_angstrom2 is not None]
    dose = found.dose_per_angstrom2 or (float(f"{np.median(doses):.2g}") if doses else None)
    signs = [found.sign] if found.sign else ["underfocus", "overfocus"]
    return {sign: found.condition(sign).model_copy(update={"dose_per_angstrom2": dose}) for sign in signs}


def _least(judge: Judge, found: Estimate, conditions: dict[str, ImagingCondition]) -> dict[str, ImagingCondition]:
    """Return conditions as near to none as the intervals of defocus and C12 allow, damped as those studied: the rings fade for more reasons."""
    spread = float(np.median([c.focal_spread_angstrom for c in judge.scored]))
    least = {}
    for sign, condition in conditions.items():
        reading = found.underfocus if sign == "underfocus" else found.overfocus
        assert reading is not None
        low, high = reading.interval_angstrom
        defocus = 0.0 if low <= 0 <= high else min(low, high, key=abs)
        values = {"C10": -defocus, "C12": max(reading.C12 - 2 * reading.C12_deviation, 0.0)}
        least[sign] = condition.varied(values | {"focal_spread_angstrom": spread})
    return least


def _words(found: Estimate) -> str:
    low, high = found.interval_angstrom or (0.0, 0.0)
    reading = found.overfocus if found.sign == "overfocus" else found.underfocus
    assert reading is not None and found.defocus_angstrom is not None
    sign = found.sign or "defocus, of either sign,"
    return (
        f"its rings give {sign} of {found.defocus_angstrom:.0f} Å ({low:.0f} to {high:.0f}) and C12 {reading.C12:.0f} Å"
    )


def _as_data(found: Estimate, condition: ImagingCondition) -> dict[str, Any]:
    return {
        "defocus_angstrom": found.defocus_angstrom,
        "interval_angstrom": list(found.interval_angstrom or ()),
        "sign": found.sign,
        "C12": condition.aberrations.get("C12", 0.0),
        "dose_per_angstrom2": condition.dose_per_angstrom2,
        "dose_is_known": found.dose_per_angstrom2 is not None,
    }
