"""Saturating phase difference: beyond half a turn, more phase is not more difference."""

import torch
from torch import Tensor

from passband.metrics.band import View


def sums(train: View, test: View, gauge_free: bool = False) -> tuple[Tensor, ...]:
    """Return Σ w cos Δχ and Σ w sin Δχ [B, B′], Σ w; gauge-free: image shift removed from each χ."""
    a, b = (view.gauge_free_phase if gauge_free else view.phase for view in (train, test))
    w = train.band.weight
    (sin_a, cos_a), (sin_b, cos_b) = ((torch.sin(x), torch.cos(x)) for x in (a, b))
    cosine = (cos_a * w) @ cos_b.T + (sin_a * w) @ sin_b.T
    sine = (sin_a * w) @ cos_b.T - (cos_a * w) @ sin_b.T
    return cosine, sine, w.sum()


def finish(cosine: Tensor, sine: Tensor, total: Tensor) -> Tensor:
    """Return 1 − ⟨cos(χ − χ′)⟩ in [0, 2]: half the mean square of |exp(iχ) − exp(iχ′)|."""
    return 1 - cosine / total


def finish_gauge_free(cosine: Tensor, sine: Tensor, total: Tensor) -> Tensor:
    """Return 1 − |⟨exp(i(χ − χ′))⟩| in [0, 1], which no constant phase changes."""
    return 1 - torch.hypot(cosine, sine) / total
