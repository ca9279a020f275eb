"""Accuracy of a segmentation from the confidence of its pixels; home is the condition with labels, such as the network's validation.

A pixel's confidence is the probability of its predicted class, max(p, 1 − p).
"""

import torch
from torch import Tensor


def pixel_accuracy(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the share of right pixels of each image, shape [N], given logits and masks (bool), shape [N, 1, n, n] each."""
    return ((logits > 0) == (masks > 0.5)).double().mean((1, 2, 3))


def average_confidence(logits: Tensor) -> Tensor:
    """Return the accuracy of a calibrated network from logits [N, 1, n, n], shape [N]: the confidence averaged over pixels.

    Source: Hendrycks and Gimpel, ICLR 2017.
    """
    return logits.abs().sigmoid().double().mean((1, 2, 3))


def difference_of_confidences(logits: Tensor, home_logits: Tensor, home_masks: Tensor) -> Tensor:
    """Return the accuracy of each image, shape [N]: that at home, less the loss of average confidence since.

    Over pixels: accuracy and confidence at home are means over all of its pixels, the confidence here is of one image.

    Args:
        logits: under the other condition, shape [N, 1, n, n].
        home_logits: at home, shape [M, 1, n, n].
        home_masks: their labels, bool, shape [M, 1, n, n].

    Source: Guillory et al., ICCV 2021, 1134.
    """
    home = pixel_accuracy(home_logits, home_masks).mean() - average_confidence(home_logits).mean()
    return home + average_confidence(logits)


def thresholded_confidence(logits: Tensor, home_logits: Tensor, home_masks: Tensor) -> Tensor:
    """Return the accuracy of each image, shape [N]: the share of pixels whose confidence exceeds a threshold.

    The threshold leaves as many pixels below it at home as are wrong there (ATC). With two classes the confidence and the
    negative entropy give the same pixels, and temperature scaling changes nothing. Arguments as for `difference_of_confidences`.

    Source: Garg et al., ICLR 2022.
    """
    wrong = (home_logits > 0) != (home_masks > 0.5)
    return (logits.abs() >= _threshold(home_logits.abs().flatten(), wrong.sum())).double().mean((1, 2, 3))


def thresholded_dice(logits: Tensor, home_logits: Tensor, home_masks: Tensor) -> Tensor:
    """Return the Dice of each image, shape [N], from pixels whose confidence exceeds the threshold of their predicted class.

    Pixels called particle below their threshold count as false positives, others below theirs as false negatives. An image without
    particles that is said to have none has Dice 1. Arguments as for `difference_of_confidences`.

    Source: Li et al., MICCAI 2022, LNCS 13437, 693 (CS-ATC).
    """
    sure, called = [], logits > 0
    for sign in (1, -1):
        chosen = sign * home_logits > 0
        wrong = (home_masks > 0.5)[chosen] != (sign > 0)
        sure.append(sign * logits >= _threshold((sign * home_logits)[chosen], wrong.sum()))
    tp, fp, fn = ((one).double().sum((1, 2, 3)) for one in (called & sure[0], called & ~sure[0], ~called & ~sure[1]))
    return (2 * tp + _NOTHING) / (2 * tp + fp + fn + _NOTHING)


# Makes 0 / 0 one.
_NOTHING = 1e-12


def _threshold(confidence: Tensor, below: Tensor) -> Tensor:
    """Return a value that so many of these confidences are smaller than."""
    # Infinity where all are wrong.
    return torch.cat([confidence, confidence.new_tensor([torch.inf])]).kthvalue(int(below) + 1).values
