"""Reverse testing: a head trained on the network's predictions elsewhere, tested at home."""

import torch
from torch import Tensor

from passband.network_measures.head import by_output
from passband.network_measures.seed_agreement import dice_between

# Of the mean square of the head's inputs.
_RIDGE = 1e-6


def reverse_dice(inputs: Tensor, logits: Tensor, home_inputs: Tensor, home_masks: Tensor) -> Tensor:
    """Return the Dice at home, averaged over M images, of a head refitted to the predictions for N images elsewhere: a number.

    Only the last convolution is refitted, by least squares to ± 1 at each pixel over all images: a head that was right elsewhere, on
    inputs that mean the same, is right at home, too.

    Args:
        inputs: of the head, from `head.head_inputs`, shape [N, K + 1, L].
        logits: shape [N, 1, n, n].
        home_inputs: as inputs, at home, shape [M, K + 1, L].
        home_masks: labels at home, bool, shape [M, 1, n, n].

    Source: Fan and Davidson, KDD 2006, 147; of segmentations, Valindria et al., IEEE Trans. Med. Imaging 36 (2017) 1597.
    """
    weights = refitted_head(inputs, logits > 0)
    return dice_between(weights @ home_inputs > 0, by_output(home_masks.to(inputs.dtype), home_inputs) > 0.5).mean()


def refitted_head(inputs: Tensor, masks: Tensor) -> Tensor:
    """Return the weights of the head, least squares to masks [N, 1, n, n] of its inputs [N, K + 1, L], shape [n² / L, K + 1]."""
    target = 2 * by_output(masks.to(inputs.dtype), inputs) - 1
    # Each image in single precision, their sum in double.
    gram = (inputs @ inputs.mT).double().sum(0)
    moment = (inputs @ target.mT).double().sum(0)
    ridge = _RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve(gram + ridge, moment).T.to(inputs.dtype)
