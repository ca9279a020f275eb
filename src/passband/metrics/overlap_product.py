"""σ with a product: how much of the transferred power both conditions pass."""

from torch import Tensor

from passband.metrics.band import View


def sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w |T||T′| [B, B′], Σ w |T|² [B] and Σ w |T′|² [B′]."""
    a, b, w = train.magnitude, test.magnitude, train.band.weight
    return (a * w) @ b.T, (a**2 * w).sum(1), (b**2 * w).sum(1)


def finish(product: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return ∫ w |T||T′| / ∫ w |T|², asymmetric, 1 for equal conditions; NaN where nothing is transferred."""
    return product / train[:, None]
