"""ε, the share of a band that a condition transfers, and σ, the share of it that another condition transfers, too."""

import torch
from torch import Tensor

from passband.metrics.band import View


def information_sums(view: View, power: int = 1) -> tuple[Tensor, ...]:
    """Return Σ w |T|^p, shape [B]; divided by the number of nodes it is ε(χ) = ∫ w |T|^p d²q / ∫ w d²q in [0, 1].

    Source: the relative information transferred of arXiv:2512.09067, in the form |T|^p.
    """
    return ((view.magnitude**power * view.band.weight).sum(1),)


def sums(train: View, test: View, power: int = 1) -> tuple[Tensor, ...]:
    """Return Σ w min(|T|^p, |T′|^p) [B, B′] and Σ w |T|^p [B].

    Source: the asymmetric overlap of arXiv:2512.09067, in the form min(|T|, |T′|).
    """
    a, b = (view.magnitude**power * view.band.weight for view in (train, test))
    return shared(a, b), a.sum(1)


def signed_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w s s′ min(|T|, |T′|) [B, B′] and Σ w |T| [B]; s is the sign of sin χ of the even aberrations.

    Odd aberrations (coma, trefoil) change the phase of T, but do not reverse contrast by themselves.
    """
    a, b = (view.signed * view.band.weight for view in (train, test))
    up_a, down_a, up_b, down_b = a.clamp_min(0), (-a).clamp_min(0), b.clamp_min(0), (-b).clamp_min(0)
    same = shared(up_a, up_b) + shared(down_a, down_b)
    return same - shared(up_a, down_b) - shared(down_a, up_b), a.abs().sum(1)


def product_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w |T||T′| [B, B′], Σ w |T|² [B] and Σ w |T′|² [B′]."""
    a, b, w = train.magnitude, test.magnitude, train.band.weight
    return (a * w) @ b.T, (a**2 * w).sum(1), (b**2 * w).sum(1)


def shared(a: Tensor, b: Tensor) -> Tensor:
    """Return Σ min(a, b) of every pair of rows, [B, N] and [B′, N] → [B, B′]: (Σa + Σb − Σ|a − b|) / 2."""
    # Rounding must not give a negative share.
    return (0.5 * (a.sum(1)[:, None] + b.sum(1) - torch.cdist(a, b, p=1.0))).clamp_min(0)


def finish(shared: Tensor, total: Tensor) -> Tensor:
    """Return σ(χ, χ′) in [0, 1], asymmetric; NaN where the training condition transfers nothing."""
    return shared / total[:, None]


def product_finish(product: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return ∫ w |T||T′| / ∫ w |T|², asymmetric, 1 for equal conditions; NaN where nothing is transferred."""
    return product / train[:, None]
