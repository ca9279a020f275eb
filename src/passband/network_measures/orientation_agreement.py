"""Agreement of a network with itself over the eight orientations of an image."""

import torch
from torch import Tensor, nn

from passband.learning import predict
from passband.simulation.symmetry import ORIENTATIONS, turn


@torch.no_grad()
def oriented_logits(network: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of normalised images [N, 1, n, n] in each of the eight orientations, turned back, shape [8, N, 1, n, n].

    Aberrations that are not round turn with the image.
    """
    return torch.stack([turn(predict(network, turn(images, o)), _INVERSE[o]) for o in range(ORIENTATIONS)])


# `turn` flips, then transposes; a transposition exchanges the two flips of what undoes it.
_INVERSE = [o if not o & 4 or (o & 3) in (0, 3) else o ^ 3 for o in range(ORIENTATIONS)]


def orientation_agreement(logits: Tensor) -> Tensor:
    """Return the share of each image's pixels on which two orientations agree, averaged over the 28 pairs, shape [N].

    Logits are those of `oriented_logits`, shape [8, N, 1, n, n].

    Source: Wang et al., Neurocomputing 338 (2019) 34 (test-time augmentation of segmentations).
    """
    count = len(logits)
    called = (logits > 0).double().sum(0)
    # Of `count` votes, k for particle: pairs of equal votes.
    equal = (called * (called - 1) + (count - called) * (count - called - 1)) / (count * (count - 1))
    return equal.mean((1, 2, 3))


def orientation_dice(logits: Tensor) -> Tensor:
    """Return the Dice between masks of two orientations of each image, averaged over the 28 pairs, shape [N]; as `orientation_agreement`."""
    masks = (logits > 0).flatten(2).movedim(0, 1).float()
    shared, area = masks @ masks.mT, masks.sum(-1)
    total = area[:, :, None] + area[:, None, :]
    i, j = torch.triu_indices(len(logits), len(logits), 1)
    return torch.where(total > 0, 2 * shared / total.clamp_min(1), 1.0)[:, i, j].double().mean(1)
