"""ε and σ between sets of conditions: training data are seldom taken under one condition."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from passband.conditions import ImagingCondition
from passband.optics import intensity_transfer, stack
from passband.shift.band import Q_MAX, make_band
from passband.shift.compare import compare, information
from passband.shift.overlap import shared
from passband.shift.weights import carbon_film, uniform

_BLOCK = 4096


def dataset_information(conditions: Sequence[ImagingCondition], q_max: float = Q_MAX) -> float:
    """Return the mean ε of a set of conditions, in [0, 1]."""
    return float(information(conditions, q_max).mean())


def dataset_overlap(
    train: Sequence[ImagingCondition],
    test: Sequence[ImagingCondition],
    q_max: float = Q_MAX,
    method: Literal["profile", "pairwise"] = "profile",
) -> float:
    """Return σ between two sets of conditions, in [0, 1]; NaN where the training set transfers nothing.

    Args:
        train: training conditions.
        test: test conditions.
        q_max: radius of the band [1/Å].
        method: profile: of the mean |T| over each set; pairwise: the mean of σ over all pairs.
    """
    if method == "pairwise":
        return float(compare(train, test, q_max).sigma.mean())
    band = make_band([*train, *test], q_max, uniform, carbon_film(train[0].energy_ev))
    common, total = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for piece in band.split(_BLOCK):
        a, b = (_profile(c, piece.qx, piece.qy) for c in (train, test))
        common, total = common + shared(a, b).sum(), total + a.sum()
    return float(common / total)


def _profile(conditions: Sequence[ImagingCondition], qx: Tensor, qy: Tensor) -> Tensor:
    return intensity_transfer(stack(conditions), qx, qy).abs().mean(0, keepdim=True)
