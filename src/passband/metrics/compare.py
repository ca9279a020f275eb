"""ε and σ between training and test conditions, as plain arrays."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from passband.conditions import Condition
from passband.metrics.band import Q_MAX
from passband.metrics.registry import measure


@dataclass(frozen=True)
class Shift:
    """ε and σ between B training and B′ test conditions.

    Attributes:
        epsilon_train: ε of the training conditions, shape [B].
        epsilon_test: ε of the test conditions, shape [B′].
        sigma: σ(train, test), shape [B, B′].
        sigma_reverse: σ(test, train), shape [B, B′].
    """

    epsilon_train: Tensor
    epsilon_test: Tensor
    sigma: Tensor
    sigma_reverse: Tensor


def compare(train: Sequence[Condition], test: Sequence[Condition], q_max: float = Q_MAX) -> Shift:
    """Return ε and σ over the band 0 < |q| ≤ q_max.

    Args:
        train: B training conditions.
        test: B′ test conditions.
        q_max: radius of the band [1/Å].
    """
    values = measure(["epsilon", "sigma"], train, test, q_max)
    reverse = measure(["sigma"], test, train, q_max)["sigma"].T
    return Shift(values["epsilon_train"], values["epsilon_test"], values["sigma"], reverse)


def information(conditions: Sequence[Condition], q_max: float = Q_MAX) -> Tensor:
    """Return ε of B conditions, shape [B]."""
    return measure(["epsilon"], conditions, conditions[:1], q_max)["epsilon_train"]
