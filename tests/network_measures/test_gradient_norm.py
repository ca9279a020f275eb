import pytest
import torch
from torch.nn import functional

from passband.learning import NetworkConfig, build
from passband.network_measures.gradient_norm import own_gradient_norm
from passband.network_measures.head import head_inputs


def test_slow_reference():
    """A pass backwards for each image."""
    network = build(NetworkConfig(widths=(4, 6), stem=2), seed=3).eval()
    images = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    norms = own_gradient_norm(head_inputs(network, images), network(images).detach()).tolist()
    for image, norm in zip(images, norms, strict=True):
        network.zero_grad()
        logits = network(image[None])
        functional.binary_cross_entropy_with_logits(logits, (logits > 0).float()).backward()
        gradient = torch.cat([network.head.weight.grad.flatten(), network.head.bias.grad]).double()
        assert norm == pytest.approx((gradient.abs() ** 0.3).sum().item() ** (1 / 0.3), rel=1e-3)
