"""σ: of what one condition transfers, the share that another transfers too."""

import torch
from torch import Tensor


def overlap(train: Tensor, test: Tensor) -> Tensor:
    """Return σ(χ, χ′) = ∫_B min(|T_χ|, |T_χ′|) d²q / ∫_B |T_χ| d²q in [0, 1], shape [B, B′].

    Asymmetric: the share of what the training condition transfers. It is NaN where the training condition transfers
    nothing at all.

    Args:
        train: T of B training conditions over equal-area nodes of the band, shape [B, *q].
        test: T of B′ test conditions over the same nodes, shape [B′, *q].

    Source: the asymmetric overlap of arXiv:2512.09067, in the form min(|T|, |T′|) with uniform weight.
    """
    a, b = train.abs().flatten(1), test.abs().flatten(1)
    shared = torch.stack([torch.minimum(row, b).sum(1) for row in a])
    return shared / a.sum(1, keepdim=True)
