"""The optics behind a verdict on a micrograph: what its rings say of the condition, and whether that explains the prediction."""

from dataclasses import dataclass, replace

import numpy as np

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.estimation.estimate import Estimate, Reading, estimate
from passband.micrographs.micrograph import Micrograph
from passband.verdicts.calibrated_model import CalibratedModel
from passband.verdicts.domain import Domain
from passband.verdicts.statements import Statement
from passband.verdicts.verdict import EstimatedOptics, Nearest
from passband.verdicts.zones import NAMES


@dataclass(frozen=True)
class ImageOptics:
    """What the rings of a micrograph add to its verdict; where they do not tell the sign, condition and nearest are of underfocus."""

    #: Why there is no verdict: optics outside the calibrated range.
    objections: tuple[Statement, ...] = ()
    facts: tuple[Statement, ...] = ()
    #: Dice, as text, and whether the network is stable, under each sign that can be predicted.
    dice: tuple[str, ...] = ()
    stable: tuple[bool, ...] = ()
    nearest: Nearest | None = None
    condition: Condition | None = None
    estimated: EstimatedOptics | None = None

    def reasons(self, *, stable: bool) -> tuple[Statement, ...]:
        """Return the reasons for a verdict; `stable` is predicted from the image."""
        if not self.dice or self.estimated is None:
            return self.facts
        detail = {"dose_is_known": self.estimated.dose_is_known, "agree": stable in self.stable}
        return (*self.facts, Statement("dice_of_optics", value=self.dice, detail=detail))

    def remedies(self, model: CalibratedModel) -> list[Statement]:
        """Return what to do if the network does not work."""
        if model.is_scanned:
            return [Statement("refocus")]
        if self.condition is None or not self.stable:
            return model.where_it_works()
        return [Statement("check_specimen")] if all(self.stable) else model.remedies(self.condition)


def estimate_optics(model: CalibratedModel, micrograph: Micrograph) -> Estimate | None:
    """Return the estimate of a micrograph's optics, or None if there can be none.

    Energy and C30 are the calibrated ones where the image does not say. Where C30 varied, it is not known, and the estimate tells no sign
    of the defocus. A scan has no rings.
    """
    if model.is_scanned:
        return None
    value, known = model.domain.spherical()
    try:
        fit = estimate(micrograph, energy_ev=micrograph.energy_ev or model.domain.energy_ev, C30=round(value, -3))
    except BadInputError:
        return None
    return fit if known else fit.of_either_sign()


def optics_of(model: CalibratedModel, fit: Estimate | None) -> ImageOptics:
    """Return what the rings of a micrograph say by `estimate_optics`, and what follows for a network; nothing if there are none."""
    if fit is None:
        return ImageOptics()
    if not fit.has_rings:
        return ImageOptics(facts=(Statement("no_rings", value=fit.notes[0]),))
    domain = model.domain
    signs = [fit.sign] if fit.sign else ["underfocus", "overfocus"]
    conditions = {sign: _condition(domain, fit, sign) for sign in signs}
    first = conditions[signs[0]]
    ends = fit.interval_angstrom or ()
    estimated = EstimatedOptics(
        fit.defocus_angstrom,
        tuple(ends),
        fit.sign,
        first.aberrations.get("C12", 0.0),
        first.dose_per_angstrom2,
        fit.dose_per_angstrom2 is not None,
    )
    detail = {"sign": fit.sign, "C12": getattr(fit, signs[0]).C12, "dose": fit.dose_per_angstrom2}
    rings = Statement("rings", "defocus_angstrom", fit.defocus_angstrom, ends or (0.0, 0.0), detail)
    outside = [domain.objections(_nearest_in_interval(domain, fit, s, c)) for s, c in conditions.items()]
    if all(outside):
        objections = tuple(replace(why, given=f"{rings}: ") for why in outside[0])
        return ImageOptics(objections, condition=first, estimated=estimated)
    predicted = [model.predict_condition(c) for c in conditions.values() if not model.objections(c)]
    # Of a sign that the rings leave open: conditions between those of the calibration.
    unlike = [replace(why, given=f"if {sign}, ") for sign, c in conditions.items() for why in model.objections(c)]
    return ImageOptics(
        facts=(rings, *_reasons(model, conditions), *unlike),
        dice=tuple(sorted({f"{p.dice.predicted:.2f}" for p in predicted})),
        stable=tuple(p.zone == NAMES[0] for p in predicted),
        nearest=model.nearest(first),
        condition=first,
        estimated=estimated,
    )


def _reasons(model: CalibratedModel, conditions: dict[str, Condition]) -> list[Statement]:
    """Return what sets the estimated conditions apart: what they share, then what is of one sign of the defocus."""
    lists = {sign: model.reasons(condition) for sign, condition in conditions.items()}
    texts = set.intersection(*({str(s) for s in statements} for statements in lists.values()))
    shared = [s for s in next(iter(lists.values())) if str(s) in texts]
    return shared + [
        replace(s, given=f"if {sign}, ") for sign, own in lists.items() for s in own if str(s) not in texts
    ]


def _condition(domain: Domain, fit: Estimate, sign: str) -> Condition:
    """Return the estimated condition of a sign: the calibration's reference where the rings do not determine it.

    The focal spread stays as calibrated, because rings fade for other reasons, too.
    """
    fitted, usual = fit.condition(sign), domain.reference()
    spreads = [c.focal_spread_angstrom for c in domain.conditions]
    changed = {name: fitted.aberrations.get(name, 0.0) for name in ("C12", "phi12", "C30")} | {
        "C10": fitted.aberrations.get("C10", 0.0) - domain.behind_angstrom,
        "focal_spread_angstrom": float(np.clip(fitted.focal_spread_angstrom, min(spreads), max(spreads))),
        "pixel_size_angstrom": fit.pixel_size_angstrom,
    }
    dose = fit.dose_per_angstrom2 or usual.dose_per_angstrom2
    return usual.varied(changed).model_copy(update={"dose_per_angstrom2": dose})


def _nearest_in_interval(domain: Domain, fit: Estimate, sign: str, condition: Condition) -> Condition:
    """Return the condition within the intervals of defocus and C12 that is nearest to the calibrated range."""
    reading: Reading = getattr(fit, sign)
    behind, defoci = domain.behind_angstrom, [c.defocus_angstrom for c in domain.conditions]
    across = [abs(c.aberrations.get("C12", 0.0)) for c in domain.conditions]
    middle, C12 = np.clip(
        [reading.defocus_angstrom + behind, reading.C12], [min(defoci), min(across)], [max(defoci), max(across)]
    )
    C12 = np.clip(C12, max(reading.C12 - 2 * reading.C12_deviation, 0.0), reading.C12 + 2 * reading.C12_deviation)
    low, high = (end + behind for end in reading.interval_angstrom)
    return condition.varied({"C10": -float(np.clip(middle, low, high)), "C12": float(C12)})
