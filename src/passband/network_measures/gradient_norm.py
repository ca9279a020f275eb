"""The gradient by the head's weights if the network's own predictions were the labels."""

from torch import Tensor

from passband.network_measures.head import by_output

# Order of the norm: the source's.
_ORDER = 0.3


def own_gradient_norm(inputs: Tensor, logits: Tensor) -> Tensor:
    """Return the norm, of order 0.3, of the gradient by the weights and biases of the last convolution, shape [N].

    The loss is the cross-entropy of an image's pixels, averaged over them, with the predicted classes as labels: the gradient is large
    where the network is unsure. In closed form, without a pass backwards.

    Args:
        inputs: of the head, from `head.head_inputs`, shape [N, K + 1, L].
        logits: shape [N, 1, n, n].

    Source: Xie et al., Trans. Mach. Learn. Res. 2025 (GdScore).
    """
    residual = (logits.sigmoid() - (logits > 0).to(logits.dtype)) / logits[0].numel()
    gradient = inputs @ by_output(residual, inputs).mT
    return gradient.double().abs().pow(_ORDER).sum((1, 2)).pow(1 / _ORDER)
