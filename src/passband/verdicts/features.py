"""What the loss of a network is predicted from: numbers of a condition, and numbers of an image and of what the network says of it."""

import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import torch
from torch import Tensor

from passband.conditions import ABERRATIONS, Condition, Detector
from passband.metrics.fixed_band import measure
from passband.models.card import ModelCard
from passband.simulation.imaging import curve_at, normalize
from passband.simulation.imaging.statistics import radial_power

#: What is predicted: the logarithm of the loss, the logit of the Dice error.
TARGETS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "loss": np.log,
    "dice": lambda dice: np.log((1 - (d := dice.clip(1e-3, 1 - 1e-3))) / d),
}
#: Tiles that a micrograph is judged by: one of a few particles says less than many, so that each number has its own predictor.
TILES = (1, 4, 16, 48)
#: What a verdict may rest on.
SOURCES = ("condition", *(f"image{n}" for n in TILES))

#: Rings of an image's power spectrum, up to the Nyquist frequency of the network's pixels.
RINGS = 12
#: Names of what `image_features` returns.
IMAGE_FEATURES = ("entropy", "expected_dice", "particle_share", *(f"ring_{i}" for i in range(RINGS)))
# Of a condition alone, and of the pair of it with the nearest training condition.
_ALONE = ("epsilon", "image_snr", "channel_information")
_PAIR = {"sigma": "largest", "signed_overlap": "largest", "phase_rms": "smallest"}
# Values of the condition itself; angles matter to no network that was trained on turned images.
_PLAIN = ("C10", "C12", "C21", "C23", "C30")


def as_seen(condition: Condition, card: ModelCard) -> Condition:
    """Return a condition on the network's pixels, which is where its images are looked at; the camera's curves are brought along.

    Summing b pixels blurs as a box of their width, for which a vibration of the same variance stands.
    """
    pixel = card.pixel_size_angstrom
    if condition.detector == Detector():
        return condition.model_copy(update={"pixel_size_angstrom": pixel})
    physical = condition.pixel_size_angstrom / condition.detector.binning
    box = physical**2 * (condition.detector.binning**2 - 1) / 12
    return condition.model_copy(
        update={
            "pixel_size_angstrom": pixel,
            "vibration_angstrom": math.hypot(condition.vibration_angstrom, math.sqrt(box)),
            "detector": condition.detector.on_pixels(physical / pixel),
        }
    )


def as_measured(condition: Condition, card: ModelCard) -> Condition:
    """Return a condition on the network's pixels, with an ideal camera that gives the same images, white noise supposed.

    A Gaussian MTF blurs the expected intensity as a vibration of the specimen does, and a share that is counted is a lower dose: both
    exactly, unbinned. A measured MTF becomes the Gaussian that fits its logarithm best over the band, weighted by q⁴.
    """
    seen = as_seen(condition, card)
    if seen.detector == Detector():
        return seen
    q = torch.linspace(0, card.q_max_per_angstrom, 65, dtype=torch.float64)
    variance = 0.0
    if seen.detector.mtf is not None:
        damping = -curve_at(seen.detector.mtf, 2 * q * seen.pixel_size_angstrom).log()
        variance = float((q**2 * damping).sum() / (2 * math.pi**2 * (q**4).sum()))
    dose = seen.dose_per_angstrom2
    return seen.model_copy(
        update={
            "vibration_angstrom": math.sqrt(max(seen.vibration_angstrom**2 + variance, 0.0)),
            "dose_per_angstrom2": None if dose is None else dose * seen.detector.counted,
            "detector": Detector(),
        }
    )


def pairs_measured(card: ModelCard, conditions: tuple[Condition, ...]) -> dict[str, Tensor]:
    """Return the metrics between each training condition of a network and each condition, as `shift.measure` does.

    Features and reasons both want them; the last ones are kept.
    """
    trained, seen = (tuple(as_measured(c, card) for c in group) for group in (card.conditions, conditions))
    return _measured(trained, seen, card.q_max_per_angstrom)


@functools.lru_cache(maxsize=4)
def _measured(trained: tuple[Condition, ...], seen: tuple[Condition, ...], q_max: float) -> dict[str, Tensor]:
    return measure([*_ALONE, *_PAIR], trained, seen, q_max)


def condition_features(card: ModelCard, conditions: Sequence[Condition]) -> dict[str, np.ndarray]:
    """Return numbers of each condition by name, shape [B] each.

    ε, ln SNR and bits of the condition; if the training conditions are known, the σ, the signed σ and the rms phase difference of the
    one that is nearest in each; defocus, C12, C21, C23, C30, ln dose and the damping exponents of focal spread
    and vibration.

    Args:
        card: of the network.
        conditions: B of them.
    """
    seen = [as_measured(c, card) for c in conditions]
    if card.conditions:
        found = pairs_measured(card, tuple(conditions))
        features = {name: found[f"{name}_test"].numpy() for name in _ALONE}
        for name, which in _PAIR.items():
            values = found[name].nan_to_num(0.0)
            features[name] = (values.amax(0) if which == "largest" else values.amin(0)).numpy()
    else:
        own = measure(_ALONE, seen, seen[:1], card.q_max_per_angstrom)
        features = {name: own[f"{name}_train"].numpy() for name in _ALONE}
    plain = [plain_features(c) for c in seen]
    return features | {name: np.array([own[name] for own in plain]) for name in plain[0]}


def plain_features(condition: Condition) -> dict[str, float]:
    """Return the features of a condition that are its own values, by name."""
    return {
        **{
            symbol: abs(value) if ABERRATIONS[symbol][1] else value
            for symbol in _PLAIN
            for value in [condition.aberrations.get(symbol, 0.0)]
        },
        "focal_spread": condition.focal_spread_angstrom**2,
        "vibration": condition.vibration_angstrom**2,
        # No noise is more than any dose that is used.
        "ln_dose": math.log(condition.dose_per_angstrom2 or 1e6),
    }


def image_features(images: Tensor, logits: Tensor, threshold: float) -> np.ndarray:
    """Return numbers of one set of images under one condition, shape [3 + RINGS].

    Mean entropy of the predicted pixels [bit], the Dice that the network expects of itself (from its probabilities, as if they were
    true), the share of particle, and the logarithm of the mean power on rings, of images under a Hann window, for a piece of a
    micrograph is not periodic.

    Args:
        images: counts or intensities, shape [N, n, n].
        logits: of the network, shape [N, 1, n, n].
        threshold: probability from which a pixel is particle.
    """
    n = images.shape[-1]
    window = torch.hann_window(n, periodic=False)
    spectrum = radial_power(normalize(images) * window[:, None] * window, RINGS).mean(0).clamp_min(1e-9)
    p = logits.double().sigmoid()
    inner = p.clamp(1e-9, 1 - 1e-9)
    entropy = -(inner * inner.log2() + (1 - inner) * (1 - inner).log2()).mean()
    called = p >= threshold
    expected = 2 * p[called].sum() / (p.sum() + called.sum()).clamp_min(1.0)
    return np.array([float(entropy), float(expected), float(p.mean()), *spectrum.log().tolist()])


def training_data(scores: pl.DataFrame, source: str, target: str) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return names and values [n, D] of the features of a source, and the target [n].

    Args:
        scores: a row per condition.
        source: of SOURCES.
        target: of TARGETS. From a condition it is that of all test images, from an image that of the images looked at.
    """
    if source == "condition":
        columns = [c for c in scores.columns if c.startswith("feature_")]
        names = tuple(c.removeprefix("feature_") for c in columns)
        return names, scores.select(columns).to_numpy(), TARGETS[target](scores[target].to_numpy())
    x = np.array(scores[source].to_list(), dtype=float).reshape(len(scores), len(IMAGE_FEATURES))
    return IMAGE_FEATURES, x, TARGETS[target](scores[f"{target}_{source}"].to_numpy())
