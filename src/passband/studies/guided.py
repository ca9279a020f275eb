"""Which conditions to train on, chosen by their transfer: spread over ε, with the largest worst-case σ."""

from collections.abc import Sequence

import numpy as np

from passband.conditions import Condition
from passband.metrics.band import Q_MAX
from passband.metrics.registry import measure

# Sweeps of exchanges after the greedy choice; most choices settle in three.
_SWEEPS = 10


class Pool:
    """Conditions to choose from, with ε of each and σ between them."""

    def __init__(self, candidates: Sequence[Condition], q_max: float = Q_MAX):
        """Measure the candidates in the band up to q_max [1/Å]."""
        measured = measure(["epsilon", "sigma"], candidates, candidates, q_max)
        self.candidates = list(candidates)
        self.epsilon = measured["epsilon_train"].numpy()
        # σ is not defined for a condition that transfers nothing.
        self.sigma = np.nan_to_num(measured["sigma"].numpy())

    def choose(self, count: int) -> list[Condition]:
        """Return `count` candidates, by falling ε.

        The candidates are ordered by ε and divided into `count` equal parts, and one comes from each, which spreads them over ε.
        Each candidate counts with the highest σ(chosen, candidate). The choice maximises the lowest of these values, then their
        mean: greedily first, then by exchanges until none helps.

        Raises:
            ValueError: if there are fewer candidates than are to be chosen.
        """
        if not 1 <= count <= len(self.candidates):
            raise ValueError(f"cannot choose {count} of {len(self.candidates)} conditions; give at least as many")
        return [self.candidates[i] for i in choose(self.epsilon, self.sigma, count)]


def choose(epsilon: np.ndarray, sigma: np.ndarray, count: int) -> list[int]:
    """Return the indices of the choice of `Pool.choose`, given ε, shape [B], and σ(train, test), shape [B, B], of the candidates."""
    parts = np.array_split(np.argsort(-epsilon, kind="stable"), count)
    chosen: list[int] = []
    for part in parts:
        chosen.append(_best(part, sigma, chosen))
    for _ in range(_SWEEPS):
        before = list(chosen)
        for i, part in enumerate(parts):
            chosen[i] = _best(part, sigma, chosen[:i] + chosen[i + 1 :])
        if chosen == before:
            break
    return sorted(chosen, key=lambda i: -epsilon[i])


def _best(part: np.ndarray, sigma: np.ndarray, others: list[int]) -> int:
    covered = sigma[others].max(0) if others else np.zeros(len(sigma))
    after = np.maximum(sigma[part], covered)
    # The lowest σ is rounded, so that a negligible gain in it does not outweigh the mean.
    return int(part[np.lexsort((-after.mean(1), -after.min(1).round(3)))[0]])
