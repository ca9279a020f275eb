"""Scores that a network expects of its own prediction, if each pixel is a particle with the network's probability.

Pixels are taken as independent; temperature scaling on labelled images (`temperature`) makes the probabilities honest at home.
"""

from torch import Tensor
from torch.nn import functional


def expected_cross_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of each image's pixels [nats], shape [N]: the mean over pixels of −p ln p − (1 − p) ln(1 − p).

    Logits have the shape [N, 1, n, n]. It is the cross-entropy that the network expects. Source: Guillory et al., ICCV 2021, 1134.
    """
    p = logits.sigmoid()
    return (p * functional.softplus(-logits) + (1 - p) * functional.softplus(logits)).double().mean((1, 2, 3))


def expected_dice(logits: Tensor) -> Tensor:
    """Return 2 Σ ŷ p / (Σ ŷ + Σ p) over each image's pixels, ŷ = [p > ½], shape [N]: the expected Dice of the predicted mask.

    Logits have the shape [N, 1, n, n]. Sums over pixels hardly vary, so that the ratio of their means serves for the mean of their ratio.

    Source: Li et al., MICCAI 2022, LNCS 13437, 693.
    """
    p, called = logits.sigmoid().double(), (logits > 0).double()
    return _ratio(2 * (called * p).sum((1, 2, 3)), (called + p).sum((1, 2, 3)))


def expected_soft_dice(logits: Tensor) -> Tensor:
    """Return (2 Σ p² + 1) / (2 Σ p + 1) over each image's pixels, shape [N]: the expected soft Dice of `segmentation_loss`.

    Logits have the shape [N, 1, n, n]. Source: as `expected_dice`.
    """
    p = logits.sigmoid().double()
    return _ratio(2 * p.square().sum((1, 2, 3)), 2 * p.sum((1, 2, 3)))


def expected_loss(logits: Tensor) -> Tensor:
    """Return what the network expects of `segmentation_loss` on each image, shape [N]: entropy + 1 − expected soft Dice.

    Logits have the shape [N, 1, n, n].
    """
    return expected_cross_entropy(logits) + 1 - expected_soft_dice(logits)


def _ratio(shared: Tensor, total: Tensor) -> Tensor:
    # As in `segmentation_loss`: an empty mask that is predicted empty is right.
    return (shared + 1) / (total + 1)
