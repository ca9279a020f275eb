import subprocess
import sys

import pytest
import torch

from passband.learning import NetworkConfig, build

RESNET = NetworkConfig(family="resnet_unet", backbone="resnet10")


@pytest.mark.parametrize("config", [RESNET, NetworkConfig(family="resnet_unet"), NetworkConfig(widths=(4, 8))])
def test_logits_for_every_pixel(config):
    n = 2 * config.divisor
    assert build(config)(torch.zeros(2, 1, n, n)).shape == (2, 1, n, n)


def test_every_pixel_is_seen_by_a_resnet_unet():
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    build(RESNET).eval()(image)[0, 0, 32, 32].backward()
    assert (image.grad != 0).float().mean() > 0.9


def test_weights_follow_from_the_seed():
    states = []
    for seed in (1, 1, 2):
        states.append(torch.cat([p.flatten() for p in build(RESNET, seed=seed).parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_only_unets_are_built_in_groups():
    unets = build(NetworkConfig(widths=(4, 8)), 3)
    assert unets(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match="networks of family resnet_unet do not train in groups"):
        build(RESNET, 3)


# In a process of its own, for here other tests may have imported both.
SCRIPT = """
import sys, torch
from passband.learning import NetworkConfig, build
build(NetworkConfig())
assert "monai" not in sys.modules
state = torch.random.get_rng_state()
build(NetworkConfig(family="resnet_unet", backbone="resnet10"))
assert torch.equal(torch.random.get_rng_state(), state)
assert "monai" in sys.modules and "torchvision" not in sys.modules
"""


def test_monai_is_imported_when_it_is_needed_without_warnings_or_torchvision():
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
