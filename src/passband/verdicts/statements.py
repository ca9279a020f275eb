"""The statements of a verdict with their numbers, and the one place where they become sentences."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from passband.base.errors import named, parameter

_TRAIN = "design training conditions for it, then train on them"
_USELESS = "a Dice below 0.5 marks more wrongly than rightly"
_WITHIN = "its power spectrum and its prediction lie within those of the training images"


@dataclass(frozen=True, repr=False)
class Statement:
    """A reason, an objection, an assumption or a remedy. `str()` gives its sentence.

    Attributes:
        kind: what is stated, a key of SENTENCES.
        parameter: what it is about, such as `defocus_angstrom` or `elements`.
        value: the number, or text, stated.
        limit: what it is compared with: a value, or the ends of a range.
        detail: further numbers of the sentence.
        given: under what supposition, the beginning of the sentence.
    """

    kind: str
    parameter: str | None = None
    value: Any = None
    limit: Any = None
    detail: dict[str, Any] = field(default_factory=dict)
    given: str = ""

    def text(self, name: Callable[[str], str] = str) -> str:
        """Return the sentence, with each parameter written as `name` writes it."""
        sentence = SENTENCES[self.kind]
        return self.given + named(sentence.format(s=self) if isinstance(sentence, str) else sentence(self), name)

    def __str__(self) -> str:
        return self.text()

    # A list of statements reads as its sentences.
    __repr__ = __str__


def _bands(intervals: list[list[float]]) -> str:
    return ", ".join(f"{low:.2f} to {high:.2f}" for low, high in intervals)


def _outside(s: Statement) -> str:
    what = s.detail.get("what", s.parameter)
    value = "" if s.value is None else f" {s.value:.4g}{s.detail['unit']}"
    hint = f" (is {s.parameter} missing in the condition file?)" if s.detail.get("missing") else ""
    return f"{what}{value} is outside the calibrated range, {s.detail['range']}{hint}"


def _specimen(s: Statement) -> str:
    what = {
        "elements": "the particles are {}",
        "support": "the support is {}",
        "thickness_angstrom": "the film is {} Å thick",
        "diameter_angstrom": "the particles are {} Å across",
    }[str(s.parameter)]
    return f"{what.format(_specimen_value(s.value))}; the model was calibrated on {_specimen_value(s.limit)}"


def _specimen_value(value: Any) -> str:
    if isinstance(value, float | int):
        return f"{value:g}"
    if value and isinstance(value, tuple) and not isinstance(value[0], str):
        return f"{value[0]:.3g} to {value[1]:.3g} Å"
    return ", ".join(value) if isinstance(value, tuple) else value or "none"


def _assumed(s: Statement) -> str:
    return {
        "elements": lambda v: f"particles of {', '.join(v)}",
        "support": lambda v: f"on {v or 'no support'}",
        "thickness_angstrom": lambda v: f"{v[0]:.3g} to {v[1]:.3g} Å thick",
        "diameter_angstrom": lambda v: f"particles {v[0]:.3g} to {v[1]:.3g} Å across",
        "energy_ev": lambda v: f"electrons of {_kilovolts([e / 1000 for e in v])}",
    }[str(s.parameter)](s.value)


def _kilovolts(energies: Sequence[float]) -> str:
    return f"{' or '.join(f'{e:g}' for e in energies)} kV"


def _rings(s: Statement) -> str:
    sign = s.detail["sign"] or "defocus, of either sign,"
    dose = "" if s.detail["dose"] is None else f", its counts a dose of {s.detail['dose']:.3g} e/Å²"
    return (
        f"its rings give {sign} of {s.value:.0f} Å ({s.limit[0]:.0f} to {s.limit[1]:.0f}) at the film's middle, "
        f"and C12 {s.detail['C12']:.0f} Å{dose}"
    )


def _into_domain(s: Statement) -> str:
    first = "bring the microscope into the calibrated range" if s.value == "condition" else "for such specimens"
    known = s.detail
    where = f" ({known['name']}: {_kilovolts(known['energies_kev'])}, {', '.join(known['elements'])})" if known else ""
    return f"{first}, use a model that was calibrated there, or train one: {_TRAIN}{where}"


def _lattice(s: Statement) -> str:
    spacings, own = (", ".join(f"{v:.2f}" for v in values) for values in (s.value, s.limit))
    return f"its lattice spacings, {spacings} Å, do not fit {s.detail['crystal']} ({own} Å), on which the model was calibrated"


def _reversed(s: Statement) -> str:
    where = f" at {_bands(s.value)} 1/Å" if s.value else ""
    return f"contrast is reversed{where} against the nearest training condition"


def _dice_of_optics(s: Statement) -> str:
    explained = "agree with this" if s.detail["agree"] else "alone do not explain this"
    dose = "" if s.detail["dose_is_known"] else ", for a usual dose"
    return f"the optics {explained}: under them, on the calibrated specimens, a Dice of {' or '.join(s.value)} is predicted{dose}"


#: The sentence of each kind of statement `s`: its template, or what writes it.
SENTENCES: dict[str, str | Callable[[Statement], str]] = {
    # Objections: outside the applicability domain.
    "outside": _outside,
    "specimen": _specimen,
    "energy": lambda s: (
        f"the energy is {s.value:g} eV; the model was calibrated at {' and '.join(f'{e:g}' for e in s.limit)} eV"
    ),
    "detector": lambda s: f"the detector is {s.value}; the model was calibrated on {', '.join(s.limit)}",
    "unlike_conditions": "this condition is unlike every calibration condition (distance {s.value:.1f}, limit {s.limit:g})",
    "unlike_images": "this image, with its prediction, is unlike every calibration image (distance {s.value:.1f}, limit {s.limit:g})",
    "networks_disagree": "two networks that were trained on different specimens mark different pixels: their masks have a Dice of {s.value:.2f} "
    "with each other, less than on 95% of the calibration images ({s.limit:.2f})",
    "few_particles": "the network marks {s.value:.1%} of the image; a verdict needs at least {s.limit:.1%} to go by",
    "pattern": "it is a diffraction pattern or a power spectrum: symmetric about a point (correlation {s.value:.2f}), and brightest around it",
    "bright": "what stands out in it is bright and grainy (skewness {s.value:+.1f}, and at most {s.limit:+.1f} on bright-field images), as in dark-field STEM "
    "or in a negative",
    "dark": "what stands out in it is dark and grainy (skewness {s.value:+.1f}, and at least {s.limit:+.1f} on dark-field scans), as in bright field or in an inverted scan",
    "one_lattice": "one lattice extends over {s.value:.0%} of it (limit {s.limit:.0%}): there is no film to tell particles from",
    "lattice": _lattice,
    "outside_sets": "{s.parameter} of {s.value:.0%} of the conditions is outside the standard study of training sets (limit {s.limit:.0%})",
    # Assumptions.
    "assumed": _assumed,
    # Reasons.
    "useless": _USELESS,
    "useless_everywhere": f"{_USELESS}, and it is no better under its training conditions",
    "training_unknown": "the training conditions are not known; the verdict rests on the scores alone",
    "epsilon": "ε is too small: {s.value:.2f} of the band reaches the image, and at least {s.limit:.2f} did in training",
    "dose": "the dose is too low: {s.value:g} e/Å², and at least {s.limit:.3g} in training",
    "signal": "the signal is too weak: signal over noise is {s.value:.2f} of the least in training",
    "lost": lambda s: (
        f"a band is lost: {_bands(s.value)} 1/Å, which even the training condition of the largest σ transfers"
    ),
    "reversed": _reversed,
    "aberrations": "the aberrations are unlike those of any training condition: {s.value:.2f} rad from the nearest, where training "
    "conditions are at most {s.limit:.2f} rad from theirs",
    "film": "the film shows more than in training: between {s.limit[0]:.2f} and {s.limit[1]:.2f} 1/Å it has up to {s.value:.1f} times the largest share of the image's power "
    "that it had under any training condition, and networks call such film particle",
    "blunt": "the probe is blunter than in training: of some frequencies {s.value:.2f} reaches the image, and at least {s.limit:.2f} did in training",
    "unsteady": "the scan is less steady than in training: {s.detail[what]} of {s.value:.2g} Å, and at most {s.limit:.2g} Å in training",
    "scan_within": "it lies within the training conditions in dose, transfer and steadiness of the scan",
    "scan_within_each": "it lies within the training conditions in each of dose, transfer and steadiness of the scan, but not in all at once",
    "within": "it lies within the training conditions in ε, dose, transfer and phase",
    "within_each": "it lies within the training conditions in each of ε, dose, transfer and phase, but not in all at once: "
    "{s.detail[weaker]} of {s.detail[count]} have a better signal over noise, and {s.detail[poorer]} a larger ε",
    "unsure": "the network is less sure of its pixels ({s.value:.2f} bit) than under any training condition (at most {s.limit:.2f})",
    "expected_dice": "the Dice that the network expects of itself is {s.value:.2f}; under the training conditions at least {s.limit:.2f}",
    "particle_share": "it marks {s.value:.1%} as particle, and {s.limit[0]:.1%} to {s.limit[1]:.1%} under the training conditions",
    "power": "its power between {s.limit[0]:.2f} and {s.limit[1]:.2f} 1/Å is {s.value} than in any training image",
    "image_within": _WITHIN,
    "image_within_each": f"{_WITHIN} one by one, but calibration images with all of them together had a larger loss",
    "rings": _rings,
    "no_rings": "{s.value}",
    "dice_of_optics": _dice_of_optics,
    "simulated": "calibrated on simulated images alone; on {s.limit} real images with labels the Dice predicted for au-300kv was off by "
    "{s.value:.2f} in the mean",
    "simulated_scans": "calibrated on simulated scans alone, and tried on no labelled ones; a detector with an offset that varies, charging or damage is not in it",
    "labelled": "recalibrated on {s.value} labelled images, each of which was held out of the tuning; it holds for images like those",
    "untuned": "calibrated on {s.value} before it was tuned, and on simulated images alone; score the tuned model for a verdict of its own",
    # Remedies.
    "other_model": f"use another model, or train one: {_TRAIN}",
    "defocus": "go to a defocus of {s.value:+.0f} Å, where it is predicted to work: Dice {s.limit.predicted:.2f} "
    "[{s.limit.low:.2f}, {s.limit.high:.2f}]",
    "raise_dose": "raise the dose to {s.value:.3g} e/Å², where it is predicted to work",
    "retrain": "no defocus brings the loss surely below {s.limit:g} × the in-domain loss (best: {s.detail[defocus]:+.0f} Å, "
    "{s.value:.1f} ×); train on conditions that include such ones: " + _TRAIN,
    "into_domain": _into_domain,
    "larger_field": "show a larger field with more particles; if pixel size and energy are right, check the condition itself instead "
    f"({parameter('condition')})",
    "more_particles": "show a field with more particles",
    "more_film": "show a field with particles and film",
    "an_image": "give the image itself",
    "bright_field": "give an HRTEM image in which more electrons are brighter; invert a negative",
    "dark_field": "give a dark-field scan in which more electrons are brighter; invert an inverted one",
    "scale": f"correct the pixel size ({parameter('pixel_size_angstrom')}); if it is right, the particles are of another crystal, and the model was not calibrated on it",
    "refocus": "refocus, stigmate, or record with a higher dose; what a condition promises is told by checking it instead "
    f"({parameter('condition')})",
    "range": "record at a defocus of {s.limit[0]:+.0f} to {s.limit[1]:+.0f} Å{s.detail[dose]}, where it is predicted to work "
    "(best at {s.detail[best]:+.0f} Å: Dice {s.value:.2f})",
    "check_specimen": "the optics do not explain it, so look at specimen, film and camera; if one differs from the training, train a new "
    f"model: {_TRAIN}",
}
