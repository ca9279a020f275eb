"""ε of conditions, and ε and σ of sets of conditions."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from passband.conditions import AnyCondition
from passband.metrics.band import Q_MAX, make_band
from passband.metrics.overlap import finish, shared
from passband.metrics.registry import measure
from passband.metrics.weights import carbon_film, uniform
from passband.optics import image_transfer, stack

# Values of |T| in work at once.
_BLOCK_VALUES = 2_000_000


def information(conditions: Sequence[AnyCondition], q_max: float = Q_MAX) -> Tensor:
    """Return ε of B conditions, shape [B]."""
    return measure(["epsilon"], conditions, conditions[:1], q_max)["epsilon_train"]


def dataset_information(conditions: Sequence[AnyCondition], q_max: float = Q_MAX) -> float:
    """Return the mean ε of a set of conditions, in [0, 1]."""
    return float(information(conditions, q_max).mean())


def dataset_overlap(
    train: Sequence[AnyCondition],
    test: Sequence[AnyCondition],
    q_max: float = Q_MAX,
    method: Literal["profile", "pairwise"] = "profile",
) -> float:
    """Return σ between two sets of conditions, in [0, 1]; NaN where the training set transfers nothing.

    By `profile`, it is that of the mean |T| over each set; `pairwise`, the mean of σ over all pairs.
    """
    if method == "pairwise":
        return float(measure(["sigma"], train, test, q_max)["sigma"].mean())
    return float(profile_overlaps([train], [test], q_max)[0, 0])


def profile_overlaps(
    train: Sequence[Sequence[AnyCondition]], test: Sequence[Sequence[AnyCondition]], q_max: float = Q_MAX
) -> Tensor:
    """Return σ of the mean |T| of S training and S′ test sets, shape [S, S′]; NaN where a set transfers nothing."""
    everything = list({c.id: c for conditions in (*train, *test) for c in conditions}.values())
    place = {c.id: i for i, c in enumerate(everything)}
    # A row a set: the share of each condition in its mean.
    shares = [torch.zeros(len(sets), len(everything), dtype=torch.float64) for sets in (train, test)]
    for share, sets in zip(shares, (train, test), strict=True):
        for row, conditions in zip(share, sets, strict=True):
            for c in conditions:
                row[place[c.id]] += 1 / len(conditions)
    band = make_band(everything, q_max, uniform, carbon_film(everything[0].energy_ev))
    parameters = stack(everything)
    common = torch.zeros(len(train), len(test), dtype=torch.float64)
    total = torch.zeros(len(train), dtype=torch.float64)
    for piece in band.split(max(_BLOCK_VALUES // len(everything), 64)):
        transfer = image_transfer(parameters, piece.qx, piece.qy).abs()
        a, b = (share @ transfer for share in shares)
        total += a.sum(1)
        common += shared(a, b)
    return finish(common, total)
