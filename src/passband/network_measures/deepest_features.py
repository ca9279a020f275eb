"""Features of a segmentation network's deepest layer."""

import torch
from torch import Tensor, nn

from passband.learning import UNet, predict


def deepest_features(network: nn.Module, images: Tensor) -> Tensor:
    """Return the output of the deepest level for normalised images [N, 1, n, n], shape [N, C, m, m].

    The network is one of `learning.build`, in evaluation mode.
    """
    bottom = network.down[-1] if isinstance(network, UNet) else network.get_submodule("encoder")
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: object, out: Tensor | list[Tensor]) -> None:
        # The encoder of a ResNet returns the features of all levels.
        seen.append(out if isinstance(out, Tensor) else out[-1])

    hook = bottom.register_forward_hook(keep)
    try:
        predict(network, images)
    finally:
        hook.remove()
    return torch.cat(seen)
