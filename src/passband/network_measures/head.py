"""The Hessian of a network's last convolution, the head, in closed form.

Logits are linear in its weights, so its Hessian is Jᵀ H J, with J the inputs of each pixel and H the second derivatives of the loss by the
logits: diagonal for the cross-entropy, of rank two more an image for the Dice term.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from passband.base.errors import BadInputError
from passband.learning import predict
from passband.learning.segmentation import cross_entropy, segmentation_loss
from passband.network_measures.curvature import Loss


def last_convolution(model: nn.Module) -> nn.Conv2d:
    """Return the last convolution of a network, its head."""
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)][-1]


@torch.no_grad()
def head_inputs(model: nn.Module, images: Tensor) -> Tensor:
    """Return what the head multiplies its weights by, and 1 for its bias: shape [N, K + 1, pixels of the head]."""
    head, seen = last_convolution(model), []
    handle = head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        predict(model, images)
    finally:
        handle.remove()
    features = torch.cat(seen)
    size, padding = head.kernel_size[0], head.padding[0]
    columns = functional.unfold(features, size, padding=padding)  # type: ignore[arg-type]
    return torch.cat([columns, columns.new_ones(len(columns), 1, columns.shape[-1])], 1)


def head_fisher(inputs: Tensor, logits: Tensor) -> np.ndarray:
    """Return the Fisher information of the head's weights, shape [O (K + 1), O (K + 1)]: output by output, the bias last.

    Args:
        inputs: of its head, from `head_inputs`, shape [N, K + 1, L].
        logits: shape [N, 1, n, n].
    """
    p = torch.sigmoid(by_output(logits, inputs))
    return _weighted(inputs, p * (1 - p) / p[0].numel() / len(p)).double().numpy()


def head_hessian(inputs: Tensor, logits: Tensor, masks: Tensor, loss: Loss) -> np.ndarray:
    """Return the Hessian of the mean loss by the head's weights, in the order of `head_fisher`; masks as logits.

    Raises:
        BadInputError: if the loss is neither the cross-entropy nor that with a Dice term.
    """
    if loss not in (cross_entropy, segmentation_loss):
        name = getattr(loss, "__name__", "this one")
        raise BadInputError(
            f"loss {name}: its curvature is not known in closed form", remedy="use cross_entropy or cross_entropy_dice"
        )
    logits, masks = by_output(logits, inputs), by_output(masks, inputs)
    p, count = torch.sigmoid(logits), len(logits)
    slope = p * (1 - p)
    diagonal = slope / p[0].numel()
    if loss is cross_entropy:
        return _weighted(inputs, diagonal / count).double().numpy()
    # Dice term −U / T: with respect to p its gradient is −2 y / T + U / T², its Hessian 2 (yᵢ + yⱼ) / T² − 2 U / T³.
    every = (1, 2)
    u = 2 * (p * masks).sum(every) + 1
    t = (p + masks).sum(every) + 1
    by_p = -2 * masks / t[:, None, None] + (u / t**2)[:, None, None]
    result = _weighted(inputs, (diagonal + by_p * slope * (1 - 2 * p)) / count).double()
    particle, whole = ((inputs @ w.transpose(1, 2)).transpose(1, 2).flatten(1).double() for w in (slope * masks, slope))
    t, u = t.double(), u.double()
    mixed = torch.einsum("ni,nj->ij", particle * (2 / t**2)[:, None], whole)
    squares = torch.einsum("ni,nj->ij", whole * (2 * u / t**3)[:, None], whole)
    return (result + (mixed + mixed.T - squares) / count).numpy()


def by_output(values: Tensor, inputs: Tensor) -> Tensor:
    """Return values of pixels [N, 1, n, n] as a head with inputs [N, K + 1, L] has its outputs, shape [N, n² / L, L]."""
    side = math.isqrt(values.shape[-1] ** 2 // inputs.shape[-1])
    return functional.pixel_unshuffle(values, side).flatten(2)


def _weighted(inputs: Tensor, weights: Tensor) -> Tensor:
    """Return the block-diagonal matrix of Σ w x xᵀ for each output, given inputs [N, K, L] and weights [N, O, L]."""
    blocks = [sum((x * w) @ x.T for x, w in zip(inputs, weights[:, o], strict=True)) for o in range(weights.shape[1])]
    return torch.block_diag(*blocks)
