"""Agreement between networks that differ in their seed alone."""

import torch
from torch import Tensor


def dice_between(a: Tensor, b: Tensor) -> Tensor:
    """Return the Dice between masks of equal shape [..., n, n], bool, over the last two axes; 1 where both are empty."""
    shared, total = (a & b).double().sum((-2, -1)), a.double().sum((-2, -1)) + b.double().sum((-2, -1))
    return torch.where(total > 0, 2 * shared / total.clamp_min(1), 1.0)


def seed_agreement(logits: Tensor, others: Tensor) -> Tensor:
    """Return the share of each image's pixels on which a network agrees with M others, averaged over these, shape [N].

    Given logits [N, 1, n, n] and those of the others [M, N, 1, n, n]. Of a calibrated ensemble, disagreement is the error.

    Source: Jiang et al., ICLR 2022.
    """
    return ((logits > 0) == (others > 0)).double().mean((0, 2, 3, 4))


def seed_dice(logits: Tensor, others: Tensor) -> Tensor:
    """Return the Dice between each image's mask and those of M other networks, averaged over these, shape [N]; as `seed_agreement`."""
    return dice_between((logits > 0).expand_as(others), others > 0).mean((0, 2))


def agreement_on_the_line(home_accuracy: Tensor, home_agreement: Tensor, agreement: Tensor) -> Tensor:
    """Return the accuracy of M ≥ 3 networks elsewhere, shape [M], if accuracy follows the same line as their agreement (ALine-D).

    Shares of pixels (or Dice) between 0 and 1, averaged over images; the line is straight in their probits.

    Args:
        home_accuracy: of each network on labelled images, shape [M].
        home_agreement: of every two networks on these, shape [M, M].
        agreement: of every two elsewhere, shape [M, M].

    Source: Baek et al., NeurIPS 2022, 19274, eqs. 5 and 6.
    """
    i, j = torch.triu_indices(len(home_accuracy), len(home_accuracy), 1)
    here, home, accuracy = (
        _probit(values.double()) for values in (agreement[i, j], home_agreement[i, j], home_accuracy)
    )
    centred = home - home.mean()
    slope = (centred * here).sum() / centred.square().sum().clamp_min(1e-12)
    # The mean of two networks' accuracy lies as far from their agreement as at home, times the slope.
    mean = here + slope * ((accuracy[i] + accuracy[j]) / 2 - home)
    pairs = torch.zeros(len(i), len(accuracy), dtype=torch.float64)
    rows = torch.arange(len(i))
    pairs[rows, i] = pairs[rows, j] = 0.5
    solved = torch.linalg.lstsq(pairs, mean[:, None]).solution[:, 0]
    return torch.special.ndtr(solved)


def _probit(shares: Tensor) -> Tensor:
    return torch.special.ndtri(shares.clamp(1e-6, 1 - 1e-6))
