import pytest
import torch
from torch.nn import functional

from passband.learning import NetworkConfig, build
from passband.network_measures.deepest_features import deepest_features


def images():
    return torch.randn(18, 1, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def test_slow_reference():
    """The way down, level by level; more images than a batch has."""
    network = build(NetworkConfig(widths=(4, 6, 10), stem=2), seed=3).eval()
    x = network.down[0](functional.pixel_unshuffle(images(), 2))
    for level in network.down[1:]:
        x = level(functional.max_pool2d(x, 2))
    assert x.shape == (18, 10, 8, 8)
    assert torch.allclose(deepest_features(network, images()), x, atol=1e-5)
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.slow
@torch.no_grad()
def test_resnet():
    network = build(NetworkConfig(family="resnet_unet", backbone="resnet10"), seed=3).eval()
    assert torch.allclose(deepest_features(network, images()), network.encoder(images())[-1], atol=1e-4)
