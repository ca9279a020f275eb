"""Energies of the pixels of a segmentation.

One logit z stands for the two logits ± z / 2 of particle and background, so that neither class counts as the reference.
"""

import math

from torch import Tensor
from torch.nn import functional


def energies(logits: Tensor) -> Tensor:
    """Return the energy −ln(exp(z / 2) + exp(−z / 2)) of each pixel, of the logits' shape."""
    # Without overflow.
    return -(logits.abs() / 2 + functional.softplus(-logits.abs())).double()


def average_energy(logits: Tensor) -> Tensor:
    """Return the energy of logits [N, 1, n, n], averaged over each image's pixels, shape [N]. Source: Liu et al., NeurIPS 2020, 21464."""
    return energies(logits).mean((1, 2, 3))


def meta_distribution_energy(logits: Tensor) -> Tensor:
    """Return the meta-distribution energy of logits [N, 1, n, n] over each image's pixels, shape [N].

    −⟨ln softmax(Z)⟩ of the energies Z, the softmax and the mean over the pixels of an image, less ln of their number: 0 if all pixels
    have the same energy, whatever the size of the image.

    Source: Peng et al., ICLR 2024 (MDE), whose samples are images.
    """
    z = energies(logits).flatten(1)
    return z.logsumexp(1) - z.mean(1) - math.log(z.shape[1])
