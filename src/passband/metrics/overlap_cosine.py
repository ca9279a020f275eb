"""σ as a cosine: whether two conditions transfer frequencies in the same proportion, whatever the scale."""

from torch import Tensor

from passband.metrics.overlap_product import sums

__all__ = ["finish", "sums"]


def finish(product: Tensor, train: Tensor, test: Tensor) -> Tensor:
    """Return ∫ w |T||T′| / √(∫ w |T|² ∫ w |T′|²) in [0, 1], symmetric; NaN where nothing is transferred."""
    return product / (train[:, None] * test).sqrt()
