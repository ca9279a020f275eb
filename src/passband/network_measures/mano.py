"""MaNo: the matrix norm of normalised logits."""

import torch
from torch import Tensor
from torch.nn import functional

# Order of the norm, and the divergence from uniform up to which the exponential is replaced by its Taylor polynomial: the source's.
_ORDER, _CONFIDENT = 4, 5.0


def mano(logits: Tensor) -> Tensor:
    """Return ⟨σᵖ⟩^(1/p), p = 4, over the pixels and both classes of each image, shape [N].

    σ is the softmax of the two logits ± z / 2; where these are little confident (mean cross-entropy of uniform labels over all pixels
    of all images up to 5), the exponential in it is replaced by 1 + x + x² / 2. Between two classes that polynomial is most certain at
    |z| = 2 √2, and less again beyond. Logits have the shape [N, 1, n, n].

    Source: Xie et al., NeurIPS 2024, eqs. 6 and 7; its program subtracts the least logit too, which leaves nothing of two classes.
    """
    two = torch.stack([logits, -logits]).double() / 2
    uniform = functional.softplus(two * 2).mean()
    weights = two.softmax(0)
    if uniform <= _CONFIDENT:
        taylor = 1 + two + two.square() / 2
        weights = taylor / taylor.sum(0)
    return weights.pow(_ORDER).mean((0, 2, 3, 4)).pow(1 / _ORDER)
