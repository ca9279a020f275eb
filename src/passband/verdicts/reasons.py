"""The physics behind a verdict, in sentences: what a condition lacks against those that a network was trained on."""

from typing import Literal

import numpy as np

from passband.conditions import Condition
from passband.metrics.by_frequency import compare_by_frequency, intervals
from passband.metrics.fixed_band import measure
from passband.models.card import ModelCard
from passband.verdicts.features import RINGS, as_measured, pairs_measured

# Narrower gaps of the transfer are said of no image.
_LEAST_BAND = 0.04


def of_condition(card: ModelCard, condition: Condition, *, holds: bool = True) -> list[str]:
    """Return what sets a condition apart from all training conditions of a network; what lies within their range is not said.

    Args:
        card: of the network.
        condition: that is asked about.
        holds: whether the network does; if not, a reason is given even where all lies within their range.
    """
    if not card.conditions:
        return ["what the network was trained on is not known; the verdict rests on its scores alone"]
    trained, test, q_max = (
        [as_measured(c, card) for c in card.conditions],
        as_measured(condition, card),
        card.q_max_per_angstrom,
    )
    found = pairs_measured(card, (condition,))
    said = []
    epsilon, own = found["epsilon_train"].numpy(), float(found["epsilon_test"][0])
    if own < epsilon.min():
        said.append(
            f"ε is too small: {own:.2f} of the band reaches the image, and at least {epsilon.min():.2f} did in training"
        )
    dose, doses = test.dose_per_angstrom2, [c.dose_per_angstrom2 for c in trained if c.dose_per_angstrom2]
    if dose is not None and doses and dose < min(doses):
        said.append(f"the dose is too low: {dose:g} e/Å², and at least {min(doses):.3g} in training")
    snr, lowest = float(found["image_snr_test"][0]), float(found["image_snr_train"].min())
    if snr < lowest and not said:
        said.append(f"the signal is too weak: signal over noise is {np.exp(snr - lowest):.2f} of the least in training")
    nearest = int(found["phase_rms"][:, 0].argmin())
    signed = found["signed_overlap"][:, 0].nan_to_num(0.0)
    table = compare_by_frequency(trained[int(found["sigma"][:, 0].nan_to_num(0.0).argmax())], test, q_max)
    lost = [b for b in intervals(table, "lost") if b[1] - b[0] >= _LEAST_BAND]
    if lost and float(found["sigma"].nan_to_num(0.0).max()) < 0.9:
        said.append(f"a band is lost: {_bands(lost)} 1/Å, which even the training condition of the largest σ transfers")
    if float(signed.max()) < 0.3:
        reversed_ = [
            b
            for b in intervals(compare_by_frequency(trained[nearest], test, q_max), "reversed")
            if b[1] - b[0] >= _LEAST_BAND
        ]
        where = f" at {_bands(reversed_)} 1/Å" if reversed_ else ""
        said.append(f"contrast is reversed{where} against the nearest training condition")
    apart = float(found["phase_rms"].min())
    among = measure(["phase_rms"], trained, trained, q_max)["phase_rms"].numpy() + np.where(
        np.eye(len(trained)), np.inf, 0
    )
    if len(trained) > 1 and apart > among.min(0).max():
        said.append(
            f"the aberrations are unlike those of any training condition: {apart:.2f} rad apart at least, and training conditions are {among.min(0).max():.2f} rad apart at most from their nearest"
        )
    if not said and holds:
        said.append("in ε, dose, transfer and phase it lies within what the network was trained on")
    elif not said:
        weaker = int((found["image_snr_train"] > snr).sum())
        poorer = int((found["epsilon_train"] > own).sum())
        said.append(
            f"it lies within what the network was trained on in each of ε, dose, transfer and phase, but not in all at once: {weaker} of its {len(trained)} training "
            f"conditions have a better signal over noise, and {poorer} a larger ε"
        )
    return said


def of_image(card: ModelCard, seen: np.ndarray, features: np.ndarray) -> list[str]:
    """Return what sets an image apart from those under the training conditions, and what the network makes of it.

    Args:
        card: of the network.
        seen: image features under each training condition, shape [B, D]; empty if these are not known.
        features: of the image, shape [D], as `features.IMAGE_FEATURES` names them.
    """
    if not len(seen):
        return ["what the network was trained on is not known; the verdict rests on its scores alone"]
    least, most = seen.min(0), seen.max(0)
    slack = 0.1 * (most - least)
    said = []
    if features[0] > most[0] + slack[0]:
        said.append(
            f"the network is less sure of its pixels ({features[0]:.2f} bit) than under any training condition (at most {most[0]:.2f})"
        )
    if features[1] < least[1] - slack[1]:
        said.append(
            f"the Dice it expects of itself is {features[1]:.2f}, and was at least {least[1]:.2f} under the training conditions"
        )
    if not least[2] - slack[2] <= features[2] <= most[2] + slack[2]:
        said.append(
            f"it marks {features[2]:.1%} as particle, and {least[2]:.1%} to {most[2]:.1%} under the training conditions"
        )
    nyquist = 1 / (2 * card.pixel_size_angstrom)
    for word, apart in (("weaker", features < least - slack), ("stronger", features > most + slack)):
        rings = np.flatnonzero(apart[3:])
        if len(rings):
            low, high = rings[0] / RINGS * nyquist, (rings[-1] + 1) / RINGS * nyquist
            said.append(f"its power between {low:.2f} and {high:.2f} 1/Å is {word} than in any training image")
    return said or ["in its power spectrum, and in what the network makes of it, it lies within the training images"]


def beyond(card: ModelCard, what: Literal["condition", "specimen", "image"]) -> str:
    """Return what to do where nothing can be said, because of the condition, the specimen or the image."""
    if what == "image":
        return "show a larger field with more particles; if pixel size and energy are right, ask of the condition itself: passband check --condition"
    first = "bring the microscope into the studied range" if what == "condition" else "for such specimens"
    return (
        f"{first}, use a model that was studied there, or train one: passband design, then passband train ({card.name} was studied at "
        f"{card.conditions[0].energy_ev / 1000:g} kV on {', '.join((card.scored_on or card.specimens).elements)})"
        if card.conditions
        else f"{first}, use a model that was studied there, or train one: passband design, then passband train"
    )


def _bands(bands: list[list[float]]) -> str:
    return ", ".join(f"{low:.2f} to {high:.2f}" for low, high in bands)
