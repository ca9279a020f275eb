"""σ: share of one condition's transfer that another condition transfers, too."""

import torch
from torch import Tensor

from passband.metrics.band import View


def sums(train: View, test: View, power: int = 1) -> tuple[Tensor, ...]:
    """Return Σ w min(|T|^p, |T′|^p) [B, B′] and Σ w |T|^p [B].

    Source: the asymmetric overlap of arXiv:2512.09067, in the form min(|T|, |T′|).
    """
    a, b = (view.magnitude**power * view.band.weight for view in (train, test))
    return shared(a, b), a.sum(1)


def shared(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ min(a, b) of every pair of rows, [B, N] and [B′, N] → [B, B′]: (Σa + Σb − Σ|a − b|) / 2."""
    # Rounding must not give a negative share.
    return (0.5 * (a.sum(1)[:, None] + b.sum(1) - torch.cdist(a, b, p=1.0))).clamp_min(0)


def finish(shared: Tensor, total: Tensor) -> Tensor:
    """Return σ(χ, χ′) in [0, 1], asymmetric; NaN where the training condition transfers nothing."""
    return shared / total[:, None]
