"""The memory of a fleet, planned from shapes, against what autograd keeps."""

import pytest
import torch

from passband.learning import NetworkConfig, TrainingConfig, build, segmentation_loss
from passband.learning.fleet_memory import step_bytes
from passband.learning.fleets import fleet


def kept(network, batch, pixels, members):
    """Bytes that autograd keeps for the backward pass, without weights."""
    model = fleet(network, [build(network, seed=i).state_dict() for i in range(members)]).train()
    weights = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    # The tensors stay, so that no memory is used twice.
    seen = {}

    def keep(tensor):
        memory = tensor.untyped_storage()
        seen[memory.data_ptr()] = memory.nbytes(), tensor
        return tensor

    images = torch.randn(batch, members, pixels, pixels)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        segmentation_loss(model(images).flatten(0, 1)[:, None], (images > 0).float().flatten(0, 1)[:, None])
    return sum(size for place, (size, _) in seen.items() if place not in weights)


@pytest.mark.parametrize(
    "network",
    [NetworkConfig(), NetworkConfig(widths=(16, 32, 64), stem=1), NetworkConfig(widths=(8, 16, 32), stem=4)],
)
@pytest.mark.parametrize(("batch", "pixels", "members"), [(2, 64, 3), (4, 128, 1)])
def test_a_step_takes_no_more_than_planned(network, batch, pixels, members):
    planned = members * step_bytes(network, TrainingConfig(batch_size=batch), pixels, number=4)
    weights = 20 * members * sum(p.numel() for p in build(network).parameters())
    measured = kept(network, batch, pixels, members) + weights
    assert measured < planned < 2.5 * measured


def test_the_weights_are_counted():
    network = NetworkConfig(widths=(16, 64, 256), stem=1)
    few = step_bytes(network, TrainingConfig(batch_size=1), 4)
    assert few == pytest.approx(20 * sum(p.numel() for p in build(network).parameters()), rel=0.05)


def test_families_without_fleets_are_refused():
    with pytest.raises(ValueError, match="do not train in fleets"):
        step_bytes(NetworkConfig(family="resnet_unet"), TrainingConfig(), 64)
