"""Differences of the aberration phases: |Δdefocus| for all aberrations."""

import torch
from torch import Tensor

from passband.metrics.band import View


def sums(train: View, test: View, quantity: str = "phase") -> tuple[Tensor, ...]:
    """Return Σ w x x′ [B, B′], Σ w x² [B], Σ w x′² [B′] and Σ w, where x is a quantity of the view.

    Source of the delocalisation: Lichte, Ultramicroscopy 38 (1991) 13.
    """
    a, b, w = getattr(train, quantity), getattr(test, quantity), train.band.weight
    return (a * w) @ b.T, (a**2 * w).sum(1), (b**2 * w).sum(1), w.sum()


def finish(product: Tensor, train: Tensor, test: Tensor, total: Tensor) -> Tensor:
    """Return √(∫ w (x − x′)² / ∫ w), symmetric. For a change of defocus alone, that of χ is ∝ |Δdefocus|."""
    return ((train[:, None] + test - 2 * product).clamp_min(0) / total).sqrt()


def saturating_sums(train: View, test: View, quantity: str = "phase") -> tuple[Tensor, ...]:
    """Return Σ w cos Δχ and Σ w sin Δχ [B, B′], and Σ w; `quantity` is phase or gauge_free_phase."""
    w = train.band.weight
    (sin_a, cos_a), (sin_b, cos_b) = (
        (torch.sin(x), torch.cos(x)) for x in (getattr(v, quantity) for v in (train, test))
    )
    cosine = (cos_a * w) @ cos_b.T + (sin_a * w) @ sin_b.T
    sine = (sin_a * w) @ cos_b.T - (cos_a * w) @ sin_b.T
    return cosine, sine, w.sum()


def saturating_finish(cosine: Tensor, sine: Tensor, total: Tensor) -> Tensor:
    """Return 1 − ⟨cos(χ − χ′)⟩ in [0, 2]: half the mean square of |exp(iχ) − exp(iχ′)|."""
    return 1 - cosine / total


def gauge_free_finish(cosine: Tensor, sine: Tensor, total: Tensor) -> Tensor:
    """Return 1 − |⟨exp(i(χ − χ′))⟩| in [0, 1], which no constant phase changes."""
    return 1 - torch.hypot(cosine, sine) / total
