"""The families of networks, built from their configuration."""

from torch import nn

from passband.learning.network_config import NetworkConfig
from passband.learning.resnet_unet import resnet_unet
from passband.learning.unet import UNet


def build(config: NetworkConfig, fleet: int = 1) -> nn.Module:
    """Return a network with random initial weights, drawn from PyTorch's global generator.

    Args:
        config: family and shape; a network maps images [B, 1, n, n] to logits [B, 1, n, n], n a multiple of its divisor.
        fleet: independent networks side by side in the channels, for families that `joins_fleets`.

    Raises:
        ValueError: if the family cannot be a fleet.
    """
    if fleet > 1 and not config.joins_fleets:
        raise ValueError(
            f"a fleet of {fleet} networks of family {config.family} cannot be built; build them one by one"
        )
    return UNet(config, fleet) if config.family == "unet" else resnet_unet(config.backbone)
