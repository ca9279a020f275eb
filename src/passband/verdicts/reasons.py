"""The physics behind a verdict: how a condition, or an image, differs from those that a network was trained on."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from torch import Tensor

from passband.conditions import Condition
from passband.metrics.fixed_band import measure
from passband.metrics.texture import EDGES, Scattering, speckle, texture
from passband.metrics.transfer_curves import compare_by_frequency, intervals
from passband.models.card import ModelCard
from passband.verdicts.features import RINGS, compare
from passband.verdicts.scan_features import RINGS as SCAN_RINGS
from passband.verdicts.statements import Statement

# Narrower gaps of the transfer are omitted [1/Å].
_LEAST_BAND = 0.04
# Smaller factors by which the film shows more than in training are omitted.
_MORE_FILM = 1.25


def of_condition(
    train: tuple[Condition, ...],
    test: Condition,
    q_max: float,
    *,
    stable: bool = True,
    specimens: Scattering | None = None,
) -> list[Statement]:
    """Return how a condition differs from all training conditions in a band [1/Å]; quantities within their range are omitted.

    All conditions are as `features.as_measured` gives them. Unless the network is predicted to be stable, a reason is given even where all
    lies within the range. With what the specimens scatter, a film that shows more than in any training image is a reason.
    """
    if not train:
        return [Statement("training_unknown")]
    metrics, result = compare(train, (test,), q_max), []
    epsilons, epsilon = metrics["epsilon_train"].numpy(), float(metrics["epsilon_test"][0])
    if epsilon < epsilons.min():
        result.append(Statement("epsilon", value=epsilon, limit=float(epsilons.min())))
    dose, doses = test.dose_per_angstrom2, [c.dose_per_angstrom2 for c in train if c.dose_per_angstrom2]
    if dose is not None and doses and dose < min(doses):
        result.append(Statement("dose", "dose_per_angstrom2", dose, min(doses)))
    snrs, snr = metrics["image_snr_train"].numpy(), float(metrics["image_snr_test"][0])
    if snr < snrs.min() and not result:
        result.append(Statement("signal", value=float(np.exp(snr - snrs.min())), limit=1.0))
    sigma, phase = metrics["sigma"][:, 0].nan_to_num(0.0), metrics["phase_rms"][:, 0]
    lost = _wide(train[int(sigma.argmax())], test, q_max, "lost")
    if lost and float(sigma.max()) < 0.9:
        result.append(Statement("lost", value=lost))
    if float(metrics["signed_overlap"][:, 0].nan_to_num(0.0).max()) < 0.3:
        result.append(Statement("reversed", value=_wide(train[int(phase.argmin())], test, q_max, "reversed")))
    among = measure(["phase_rms"], train, train, q_max)["phase_rms"].numpy() + np.where(np.eye(len(train)), np.inf, 0)
    if len(train) > 1 and float(phase.min()) > among.min(0).max():
        result.append(Statement("aberrations", value=float(phase.min()), limit=float(among.min(0).max())))
    if specimens is not None:
        result += _film(train, test, specimens)
    if result:
        return result
    if stable:
        return [Statement("within")]
    detail = {"weaker": int((snrs > snr).sum()), "poorer": int((epsilons > epsilon).sum()), "count": len(train)}
    return [Statement("within_each", detail=detail)]


def _film(train: tuple[Condition, ...], test: Condition, specimens: Scattering) -> list[Statement]:
    """Return whether the film's share of the image's power in a ring exceeds that under every training condition."""
    growth = (texture([test], specimens).film[0] - _trained_film(train, specimens)).exp()
    # Where shot noise exceeds the film, it is the noise that grows.
    growth = growth * (speckle([test], specimens)[0] > 1)
    rings = (growth > _MORE_FILM).nonzero()[:, 0].tolist()
    if not rings:
        return []
    ends = float(EDGES[rings[0]]), float(EDGES[rings[-1] + 1])
    return [Statement("film", value=float(growth.max()), limit=ends)]


@functools.lru_cache(maxsize=4)
def _trained_film(train: tuple[Condition, ...], specimens: Scattering) -> Tensor:
    """Return the largest log share that the film has in each ring under any training condition, shape [11]."""
    return texture(train, specimens).film.amax(0)


def of_scan(names: Sequence[str], trained: np.ndarray, found: np.ndarray, *, stable: bool) -> list[Statement]:
    """Return how the named `features` [D] of a condition differ from those of the training conditions [B, D]."""
    if not len(trained):
        return [Statement("training_unknown")]
    at, result = {name: i for i, name in enumerate(names)}, []
    least, most = trained.min(0), trained.max(0)
    if found[at["ln_dose"]] < least[at["ln_dose"]]:
        dose, limit = (float(np.exp(v[at["ln_dose"]])) for v in (found, least))
        result.append(Statement("dose", "dose_per_angstrom2", dose, limit))
    blunt = [i for i in range(len(SCAN_RINGS)) if found[at[f"transfer_{i}"]] < least[at[f"transfer_{i}"]]]
    if blunt:
        place = at[f"transfer_{blunt[0]}"]
        result.append(Statement("blunt", value=float(found[place]), limit=float(least[place])))
    for name in ("jitter", "drift"):
        if found[at[name]] > most[at[name]]:
            result.append(
                Statement("unsteady", value=float(found[at[name]]), limit=float(most[at[name]]), detail={"what": name})
            )
    return result or [Statement("scan_within" if stable else "scan_within_each")]


def of_image(card: ModelCard, train: np.ndarray, features: np.ndarray, *, stable: bool) -> list[Statement]:
    """Return how the `features.IMAGE_FEATURES` [D] of an image differ from those under the training conditions [B, D], if known.

    `stable` is whether the network is predicted to be stable.
    """
    if not len(train):
        return [Statement("training_unknown")]
    least, most = train.min(0), train.max(0)
    slack, result = 0.1 * (most - least), []
    if features[0] > most[0] + slack[0]:
        result.append(Statement("unsure", value=features[0], limit=most[0]))
    if features[1] < least[1] - slack[1]:
        result.append(Statement("expected_dice", value=features[1], limit=least[1]))
    if not least[2] - slack[2] <= features[2] <= most[2] + slack[2]:
        result.append(Statement("particle_share", value=features[2], limit=(least[2], most[2])))
    nyquist = 1 / (2 * card.pixel_size_angstrom)
    for word, apart in (("weaker", features < least - slack), ("stronger", features > most + slack)):
        rings = np.flatnonzero(apart[3 : 3 + RINGS])
        if len(rings):
            ends = (rings[0] / RINGS * nyquist, (rings[-1] + 1) / RINGS * nyquist)
            result.append(Statement("power", value=word, limit=ends))
    return result or [Statement("image_within" if stable else "image_within_each")]


def into_domain(card: ModelCard, what: Literal["condition", "specimen"]) -> Statement:
    """Return what to do about a condition, or a specimen, outside the applicability domain."""
    known: dict[str, Any] = {}
    if card.conditions:
        elements = (card.scored_on or card.specimens).elements
        energies = sorted({c.energy_ev / 1000 for c in card.conditions})
        known = {"name": card.name, "energies_kev": energies, "elements": elements}
    return Statement("into_domain", value=what, detail=known)


def _wide(train: Condition, test: Condition, q_max: float, kind: str) -> list[list[float]]:
    return [b for b in intervals(compare_by_frequency(train, test, q_max), kind) if b[1] - b[0] >= _LEAST_BAND]
