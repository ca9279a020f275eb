"""The families of networks, built from their configuration."""

import torch
from torch import nn

from passband.learning.network_config import NetworkConfig
from passband.learning.resnet_unet import resnet_unet
from passband.learning.unet import UNet


def build(config: NetworkConfig, group: int = 1, *, seed: int = 0) -> nn.Module:
    """Return a network with random initial weights; PyTorch's global generator stays as it is.

    Args:
        config: family and shape; a network maps images [B, 1, n, n] to logits [B, 1, n, n], n a multiple of its divisor.
        group: independent networks side by side in the channels, for families that train in groups.
        seed: of the initial weights.

    Raises:
        ValueError: if the family does not train in groups.
    """
    if group > 1 and not config.trains_in_groups:
        raise ValueError(
            f"networks of family {config.family} do not train in groups (of {group}); build them one by one"
        )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return UNet(config, group) if config.family == "unet" else resnet_unet(config.backbone)
