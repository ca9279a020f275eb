"""The zones of the standard results: what stable and collapse mean, and how often pairs of conditions like this one are stable."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import numpy as np
import torch

from passband.conditions import Condition
from passband.metrics.band import Q_MAX
from passband.metrics.fixed_band import measure

NAMES = ("stable", "degraded", "collapse")
#: Features of a pair that the tree of the plane of metrics divides by, and those of the tree for `best_match`.
PLANE = ("sigma", "delta_epsilon")
PAIR_FEATURES = (
    *PLANE,
    *("phase_rms", "signed_overlap", "image_snr_test", "image_snr_train", "dose_difference", "epsilon_test"),
)
# Training conditions that are compared closely, and the band in which these are found [1/Å].
_NEAREST, _NARROW = 6, 0.5


@dataclass(frozen=True)
class Leaf:
    """A part of the space of PAIR_FEATURES: its bounds, in words and in numbers, how many pairs lie in it, their shares of the zones."""

    where: str
    bounds: dict[str, tuple[float | None, float | None]]
    pairs: int
    shares: dict[str, float]

    def contains(self, features: dict[str, float]) -> bool:
        """Whether a pair of conditions lies in it."""
        return all(
            (low is None or features[name] > low) and (high is None or features[name] <= high)
            for name, (low, high) in self.bounds.items()
        )


@dataclass(frozen=True)
class Zones:
    """Up to which relative loss a network is stable, from which it has collapsed, and the leaves of the tree for `best_match`."""

    stable_up_to: float
    collapse_from: float
    leaves: tuple[Leaf, ...]


@functools.cache
def zones() -> Zones:
    """Return the zones that this version of passband carries, built from the standard results (`python -m replication verdict-data`)."""
    content = json.loads((files("passband.verdicts") / "data/zones.json").read_text(encoding="utf-8"))
    leaves = tuple(Leaf(**leaf) for leaf in content["trees"]["many"]["leaves"])
    return Zones(content["stable_up_to"], content["collapse_from"], leaves)


def zone_of(relative_loss: np.ndarray) -> np.ndarray:
    """Return the index in NAMES of each loss relative to the in-domain loss."""
    limits = zones()
    return (relative_loss > limits.stable_up_to).astype(int) + (relative_loss > limits.collapse_from)


def best_match(train: Sequence[Condition], test: Condition) -> tuple[int, Leaf, dict[str, float]]:
    """Return the index of the training condition that matches another best, the leaf that the pair lies in, and its features."""
    # Those furthest in phase are left out: each costs time.
    phase = measure(["phase_rms"], train, [test], _NARROW)["phase_rms"][:, 0].nan_to_num(1e9)
    nearest = phase.argsort()[:_NEAREST].tolist()
    pairs = _pair_features([train[i] for i in nearest], test)
    leaves = [next(leaf for leaf in zones().leaves if leaf.contains(pair)) for pair in pairs]
    best = max(range(len(pairs)), key=lambda i: (leaves[i].shares[NAMES[0]], pairs[i]["sigma"], -i))
    return nearest[best], leaves[best], pairs[best]


def _pair_features(train: Sequence[Condition], test: Condition) -> list[dict[str, float]]:
    """Return PAIR_FEATURES and epsilon_train of each training condition with the test condition."""
    names = (*PAIR_FEATURES, "epsilon_train")
    metrics = ("sigma", "epsilon", "phase_rms", "signed_overlap", "image_snr", "dose_difference")
    measured = measure(metrics, train, [test], Q_MAX)
    columns = {name: v[:, 0] if v.ndim == 2 else v.expand(len(train)) for name, v in measured.items()}
    columns["delta_epsilon"] = columns["epsilon_test"] - columns["epsilon_train"]
    table = torch.stack([columns[name].nan_to_num(0.0) for name in names], dim=-1)
    return [dict(zip(names, row, strict=True)) for row in table.tolist()]
