"""Features that predict a network's loss: of a condition, or of an image and the network's prediction on it."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import polars as pl
import torch
from torch import Tensor

from passband.conditions import ABERRATIONS, AnyCondition, Condition, Detector, StemCondition
from passband.metrics.fixed_band import measure
from passband.models.card import ModelCard
from passband.optics import curve_at
from passband.simulation.imaging import normalize, radial_power
from passband.verdicts.scan_features import on_pixels, scan_features

# Added to instance F1, surface Dice and their errors, which may be 0.
_LEAST_ERROR = 0.01
#: Predicted quantities, as they are fitted: the logarithm of the loss, logits of the error of the scores.
TARGETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "loss": np.log,
    "dice": lambda dice: np.log((1 - (d := dice.clip(1e-3, 1 - 1e-3))) / d),
    "instance_f1": lambda f1: np.log((1 - f1 + _LEAST_ERROR) / (f1 + _LEAST_ERROR)),
    "surface_dice": lambda dice: np.log((1 - dice + _LEAST_ERROR) / (dice + _LEAST_ERROR)),
}


def from_fitted(target: str, values: np.ndarray) -> np.ndarray:
    """Return a target's values from those that are fitted: the inverse of its function in TARGETS."""
    if target == "loss":
        return np.exp(values)
    least = 0.0 if target == "dice" else _LEAST_ERROR
    return ((1 + 2 * least) / (1 + np.exp(values)) - least).clip(0, 1)


def targets_of(scores: pl.DataFrame) -> list[str]:
    """Return the targets that a table of scores has; those of older models have loss and Dice alone."""
    return [target for target in TARGETS if target in scores.columns]


#: Tile counts with a predictor of their own; few tiles give noisier features.
TILES = (1, 4, 16, 48)
#: What features come from: a condition, or an image of so many tiles.
SOURCES = ("condition", *(f"image{n}" for n in TILES))

#: Name of what the specimens scatter, beside the predictors.
SCATTERING = "scattering"
#: Names, beside the predictors, of the untuned model that they were fitted to, and of what labelled images correct them by.
UNTUNED, LABELS = "untuned", "labels"

#: Rings of an image's power spectrum, up to the Nyquist frequency of the network's pixels.
RINGS = 12
#: Names of what `image_features` returns; the last only with a second network.
IMAGE_FEATURES = (
    "entropy",
    "expected_dice",
    "particle_share",
    *(f"ring_{i}" for i in range(RINGS)),
    "unsure_over_marked",
    "disagreement",
)
# A pixel is unsure whose class has less than this probability.
_SURE = 0.9
# Added to shares, so that logarithms exist where nothing is unsure or marked, or two networks agree.
_LEAST_PART = 1e-3
# Metrics of a condition alone, and of its pair with the nearest training condition.
_ALONE = ("epsilon", "image_snr", "channel_information")
_PAIR = {"sigma": torch.amax, "signed_overlap": torch.amax, "phase_rms": torch.amin}
# Aberrations used as they are; their angles do not matter to a network that was trained on rotated images.
_PLAIN = ("C10", "C12", "C21", "C23", "C30")


@overload
def as_seen(condition: Condition, card: ModelCard) -> Condition: ...


@overload
def as_seen(condition: AnyCondition, card: ModelCard) -> AnyCondition: ...


def as_seen(condition: AnyCondition, card: ModelCard) -> AnyCondition:
    """Return a condition resampled to the network's pixels, with the camera's curves; a vibration stands for the box blur of binning."""
    if isinstance(condition, StemCondition):
        return on_pixels(condition, card.pixel_size_angstrom)
    detector, changed = condition.detector, {"pixel_size_angstrom": card.pixel_size_angstrom}
    if detector != Detector():
        physical = condition.pixel_size_angstrom / detector.binning
        box = physical**2 * (detector.binning**2 - 1) / 12
        changed["vibration_angstrom"] = math.hypot(condition.vibration_angstrom, math.sqrt(box))
        detector = detector.on_pixels(physical / card.pixel_size_angstrom)
    return condition.model_copy(update={**changed, "detector": detector})


@overload
def as_measured(condition: Condition, card: ModelCard) -> Condition: ...


@overload
def as_measured(condition: AnyCondition, card: ModelCard) -> AnyCondition: ...


def as_measured(condition: AnyCondition, card: ModelCard) -> AnyCondition:
    """Return a condition on the network's pixels, with an ideal camera that gives the same images if noise is white.

    A Gaussian MTF equals a vibration of the specimen, and a DQE(0) a lower dose; both are exact without binning. A measured MTF is replaced by
    the Gaussian that fits its logarithm best over the band, weighted by q⁴. A contrast c counts as c² times the dose, readout noise and
    gain residue as shot noise of their density; a slow background is left out. A scan has no camera.
    """
    if isinstance(condition, StemCondition):
        return as_seen(condition, card)
    plain = condition.model_copy(update={"contrast": 1.0, "background": 0.0})
    seen = as_seen(plain, card)
    if condition.contrast == 1 and seen.detector == Detector():
        return seen
    q = torch.linspace(0, card.q_max_per_angstrom, 65, dtype=torch.float64)
    variance = 0.0
    if seen.detector.mtf is not None:
        damping = -curve_at(seen.detector.mtf, 2 * q * seen.pixel_size_angstrom).log()
        variance = float((q**2 * damping).sum() / (2 * math.pi**2 * (q**4).sum()))
    camera, dose, physical = (
        condition.detector,
        seen.dose_per_angstrom2,
        condition.pixel_size_angstrom / condition.detector.binning,
    )
    if dose is not None:
        dose *= camera.counted * condition.contrast**2
        if camera.readout_electrons or camera.gain_residue:
            counted = dose / condition.contrast**2
            more = (camera.readout_electrons / physical) ** 2 / counted + counted * (
                camera.gain_residue * physical
            ) ** 2
            dose /= 1 + more
    return seen.model_copy(
        update={
            "vibration_angstrom": math.sqrt(max(seen.vibration_angstrom**2 + variance, 0.0)),
            "dose_per_angstrom2": dose,
            "detector": Detector(),
        }
    )


def condition_features(
    card: ModelCard, conditions: Sequence[Any], trained: tuple[Condition, ...] | None = None
) -> dict[str, np.ndarray]:
    """Return the features of conditions by name, shape [B] each: of scans `scan_features`; else `_measured_features`, and of the recording.

    The latter are ln contrast, ln background, and how far the camera correlates the noise. `trained` are the training conditions as `as_measured` gives
    them, if they are at hand.
    """
    if card.modality == "stem":
        return scan_features(card, [on_pixels(c, card.pixel_size_angstrom) for c in conditions])
    if trained is None:
        trained = tuple(as_measured(c, card) for c in card.hrtem_conditions)
    features = _measured_features(trained, tuple(as_measured(c, card) for c in conditions), card.q_max_per_angstrom)
    recorded = [_recorded_features(as_seen(c, card)) for c in conditions]
    return features | {name: np.array([values[name] for values in recorded]) for name in recorded[0]}


def _recorded_features(seen: Condition) -> dict[str, float]:
    """Return the features of contrast, background and noise of a condition on the network's pixels, by name."""
    mtf, correlated = seen.detector.mtf, seen.detector.correlated_noise
    passed = 1.0 if mtf is None else float(curve_at(mtf, torch.ones(1, dtype=torch.float64)))
    return {
        "ln_contrast": math.log(seen.contrast),
        "ln_background": math.log(seen.background + _LEAST_PART),
        "noise_correlation": correlated * (1 - passed**2),
        "gain_residue": seen.detector.gain_residue,
    }


def _measured_features(
    train: tuple[Condition, ...], test: tuple[Condition, ...], q_max: float
) -> dict[str, np.ndarray]:
    """Return the features of B test conditions by name, shape [B] each, in a band [1/Å]; all conditions are as `as_measured` gives them.

    ε, ln SNR and bits of the condition; if the training conditions are known, the σ, the signed σ and the rms phase difference of the
    nearest one in each; defocus, C12, C21, C23, C30, ln dose, the damping exponents of focal spread, vibration and convergence, and one over the aperture (0 for none).
    """
    metrics = compare(train, test, q_max)
    features = {name: metrics[f"{name}_test"].numpy() for name in _ALONE}
    if train:
        features |= {name: nearest(metrics[name].nan_to_num(0.0), 0).numpy() for name, nearest in _PAIR.items()}
    plain = [_plain_features(c) for c in test]
    return features | {name: np.array([values[name] for values in plain]) for name in plain[0]}


@functools.lru_cache(maxsize=4)
def compare(train: tuple[Condition, ...], test: tuple[Condition, ...], q_max: float) -> dict[str, Tensor]:
    """Return the metrics between training (if known) and other conditions, as `as_measured` gives them; features and reasons share the last.

    Those of pairs do not depend on the dose, and are computed once for conditions that differ in it alone.
    """
    if not train:
        return measure(_ALONE, test[:1], test, q_max)
    optics = [c.model_copy(update={"dose_per_angstrom2": None}) for c in test]
    distinct = list(dict.fromkeys(optics))
    if len(distinct) == len(test):
        return measure([*_ALONE, *_PAIR], train, test, q_max)
    place = {condition: i for i, condition in enumerate(distinct)}
    index = [place[condition] for condition in optics]
    pairs = {name: values[:, index] for name, values in measure([*_PAIR], train, distinct, q_max).items()}
    return measure(_ALONE, train, test, q_max) | pairs


def ln_dose(condition: Condition) -> float:
    """Return the logarithm of the dose [e/Å²]; without shot noise, of one larger than any in use."""
    return math.log(condition.dose_per_angstrom2 or 1e6)


def _plain_features(condition: Condition) -> dict[str, float]:
    """Return the features that are values of the condition itself, by name."""
    return {symbol: magnitude(condition, symbol) for symbol in _PLAIN} | {
        "focal_spread": condition.focal_spread_angstrom**2,
        "vibration": condition.vibration_angstrom**2,
        "convergence": condition.convergence_mrad**2,
        "aperture": 0.0 if condition.aperture_mrad is None else 1 / condition.aperture_mrad,
        "ln_dose": ln_dose(condition),
    }


def magnitude(condition: AnyCondition, symbol: str) -> float:
    """Return an aberration [Å], without its sign if it has an axis, where the sign is a turn of the axis."""
    value = condition.aberrations.get(symbol, 0.0)
    return abs(value) if ABERRATIONS[symbol][1] else value


def image_features(images: Tensor, logits: Tensor, threshold: float, second: Tensor | None = None) -> np.ndarray:
    """Return the features of a set of images under one condition, shape [4 + RINGS], or one more with a second network.

    Mean entropy of the predicted pixels [bit]; the expected Dice, taking the probabilities as true; the share of particle; the logarithm of
    the mean power on rings, under a Hann window because a piece of a micrograph is not periodic; the logarithm of the share of unsure
    pixels over twice the share marked, which is 1 − Dice if half of the unsure ones are wrong; the logarithm of 1 − the Dice of the masks of two
    networks. Images are counts or intensities [N, n, n], logits of the network, and of the second, [N, 1, n, n]; a pixel is particle from the threshold on.
    """
    n = images.shape[-1]
    window = torch.hann_window(n, periodic=False)
    spectrum = radial_power(normalize(images) * window[:, None] * window, RINGS).mean(0).clamp_min(1e-9)
    p = logits.double().sigmoid()
    inner = p.clamp(1e-9, 1 - 1e-9)
    entropy = -(inner * inner.log2() + (1 - inner) * (1 - inner).log2()).mean()
    called = p >= threshold
    expected = 2 * p[called].sum() / (p.sum() + called.sum()).clamp_min(1.0)
    unsure = (torch.maximum(p, 1 - p) < _SURE).double().mean()
    unsure_over_marked = ((unsure + _LEAST_PART) / (2 * called.double().mean() + _LEAST_PART)).log()
    features = [float(entropy), float(expected), float(p.mean()), *spectrum.log().tolist(), float(unsure_over_marked)]
    if second is not None:
        others = second.double().sigmoid() >= threshold
        agreement = (2 * (called & others).sum() + 1) / (called.sum() + others.sum() + 1)
        features.append(math.log(1 - float(agreement) + _LEAST_PART))
    return np.array(features)


def training_data(scores: pl.DataFrame, source: str, target: str) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return names and values [n, D] of the features of one of SOURCES, and one of TARGETS [n], from a row of scores per condition.

    The target is over all test images for a condition, over the images used for an image source.
    """
    if source == "condition":
        columns = [c for c in scores.columns if c.startswith("feature_")]
        names = tuple(c.removeprefix("feature_") for c in columns)
        return names, scores.select(columns).to_numpy(), TARGETS[target](scores[target].to_numpy())
    # Models that were scored before there were more have the first features alone.
    x = np.array(scores[source].to_list(), dtype=float).reshape(len(scores), -1)
    return IMAGE_FEATURES[: x.shape[1]], x, TARGETS[target](scores[f"{target}_{source}"].to_numpy())
