"""Root-mean-square difference of the aberration phases: |Δdefocus| for all aberrations."""

from torch import Tensor

from passband.metrics.band import View


def sums(train: View, test: View, gauge_free: bool = False) -> tuple[Tensor, ...]:
    """Return Σ w χ χ′ [B, B′], Σ w χ² [B], Σ w χ′² [B′] and Σ w; gauge-free: mean phase and image shift removed."""
    a, b = (view.gauge_free_phase if gauge_free else view.phase for view in (train, test))
    w = train.band.weight
    return (a * w) @ b.T, (a**2 * w).sum(1), (b**2 * w).sum(1), w.sum()


def finish(product: Tensor, train: Tensor, test: Tensor, total: Tensor) -> Tensor:
    """Return √(∫ w (χ − χ′)² / ∫ w) [rad], symmetric. For a change of defocus alone it is ∝ |Δdefocus|."""
    return ((train[:, None] + test - 2 * product).clamp_min(0) / total).sqrt()
