"""The zones that the standard results learnt: what stable and collapse mean, and how often pairs like this one hold."""

import functools
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from passband.conditions import Condition
from passband.metrics.band import Q_MAX
from passband.metrics.fixed_band import measure

NAMES = ("stable", "degraded", "collapse")
# Probability from which an answer is not called probable.
_SURE = 0.8
# Training conditions that are looked at closely, and the band in which the nearest are found [1/Å].
_NEAREST, _NARROW = 6, 0.5


@functools.cache
def zones() -> dict[str, Any]:
    """Return the zones that this version of passband carries, as the standard results made them."""
    result: dict[str, Any] = json.loads(
        files("passband.verdicts").joinpath("data", "zones.json").read_text(encoding="utf-8")
    )
    return result


def zone_of(loss_over_own: np.ndarray) -> np.ndarray:
    """Return the place in NAMES of each loss over the network's own."""
    held = zones()
    return (loss_over_own > held["stable_up_to"]).astype(int) + (loss_over_own > held["collapse_from"])


def in_words(shares: dict[str, float]) -> str:
    """Return the probability of each zone in words, the likely ones."""
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items() if share >= 0.005)


def holds(verdict: dict[str, Any]) -> str:
    """Return whether a network holds, in words that say how sure that is."""
    share = verdict["zone_shares"][NAMES[0]]
    sure = max(share, 1 - share) >= _SURE or (verdict["answer"] == "no" and verdict["zone"] == NAMES[0])
    return ("" if sure else "probably ") + ("holds" if verdict["answer"] == "yes" else "does not hold")


def pairs_like(train: Sequence[Condition], test: Condition) -> tuple[int, dict[str, Any]]:
    """Return the training condition that serves a test condition best, by its place, and what the studies say of such pairs.

    Args:
        train: training conditions.
        test: what is asked about.

    Returns:
        the place; and where in the plane of metrics the pair lies, how many pairs of the studies lie there, their shares of the
        zones, and the pair's own metrics.
    """
    # Those furthest in phase are not looked at: each costs time.
    apart = measure(["phase_rms"], train, [test], _NARROW)["phase_rms"][:, 0].nan_to_num(1e9)
    nearest = apart.argsort()[:_NEAREST].tolist()
    place, said = _best([train[i] for i in nearest], test)
    return nearest[place], said


def _best(train: Sequence[Condition], test: Condition) -> tuple[int, dict[str, Any]]:
    found = measure(
        ["epsilon", "sigma", "phase_rms", "signed_overlap", "image_snr", "dose_difference"], train, [test], Q_MAX
    )
    features = {name: found[name][:, 0] for name in ("sigma", "phase_rms", "signed_overlap", "dose_difference")}
    features |= {
        "delta_epsilon": found["epsilon_test"][0] - found["epsilon_train"],
        "epsilon_test": found["epsilon_test"].expand(len(train)),
        "image_snr_test": found["image_snr_test"].expand(len(train)),
        "image_snr_train": found["image_snr_train"],
    }
    columns = {name: values.nan_to_num(0.0).numpy() for name, values in features.items()}
    leaves = zones()["trees"]["many"]["leaves"]
    best: tuple[float, float, int, dict[str, Any]] | None = None
    for i in range(len(train)):
        leaf = next(leaf for leaf in leaves if _inside(leaf["bounds"], {n: float(v[i]) for n, v in columns.items()}))
        key = (leaf["shares"]["stable"], float(columns["sigma"][i]), -i, leaf)
        if best is None or key[:3] > best[:3]:
            best = key
    assert best is not None
    place, leaf = -best[2], best[3]
    own = {name: float(values[place]) for name, values in columns.items()}
    own["epsilon_train"] = float(found["epsilon_train"][place])
    return place, {"where": leaf["where"], "pairs": leaf["pairs"], "shares": leaf["shares"], "metrics": own}


def _inside(bounds: dict[str, list[float | None]], values: dict[str, float]) -> bool:
    return all(
        (low is None or values[name] > low) and (high is None or values[name] <= high)
        for name, (low, high) in bounds.items()
    )
