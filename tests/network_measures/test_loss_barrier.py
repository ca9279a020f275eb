"""Networks whose channels are permuted, and the loss halfway between two."""

import numpy as np
import pytest
import torch

from passband.learning import segmentation_loss
from passband.network_measures.loss_barrier import channel_axes, halfway, loss_barrier, matched
from support.measured_networks import images_and_masks, network

_WIDTHS = (3, 4, 5)


def shuffled(model, seed=0):
    """The same function with its channels in another order."""
    rng, copy = np.random.default_rng(seed), network(widths=_WIDTHS)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    axes = channel_axes(model)
    for channels in sorted({one for of in axes.values() for one in of if one}):
        places = [(name, axis) for name, of in axes.items() for axis, one in enumerate(of) if one == channels]
        order = torch.as_tensor(rng.permutation(state[places[0][0]].shape[places[0][1]]))
        for name, axis in places:
            state[name] = state[name].index_select(axis, order)
    copy.load_state_dict(state)
    return copy


def test_channels_may_be_permuted_and_are_matched_again():
    model, (images, _) = network(widths=_WIDTHS), images_and_masks()
    other = shuffled(model)
    with torch.no_grad():
        assert torch.allclose(model(images), other(images))
    assert not torch.equal(other.head.weight, model.head.weight)
    found = matched(model, other)
    assert all(torch.equal(value, found[name]) for name, value in model.state_dict().items())


def test_every_tensor_has_its_channels():
    model = network(widths=_WIDTHS)
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    assert set(channel_axes(model)) == set(model.state_dict()) - counters


def test_there_is_no_barrier_to_a_permuted_copy():
    model, (images, masks) = network(widths=_WIDTHS), images_and_masks()
    # Both with the statistics of these images.
    first = halfway(model, model, images)
    assert loss_barrier(first, shuffled(first), images, masks, segmentation_loss) == pytest.approx(0, abs=1e-9)


def test_the_barrier_is_the_loss_of_the_mean_of_the_weights():
    first, second = network(widths=_WIDTHS), network(1, widths=_WIDTHS)
    images, masks = images_and_masks()
    middle, theirs = network(2, widths=_WIDTHS).train(), matched(first, second)
    with torch.no_grad():
        for name, weight in middle.named_parameters():
            weight.copy_((first.state_dict()[name] + theirs[name]) / 2)
        # In training mode batch normalisation goes by the images themselves, of one batch.
        losses = [float(segmentation_loss(model(images), masks).mean()) for model in (first, second, middle)]
    expected = losses[2] - (losses[0] + losses[1]) / 2
    # Running variances count n - 1 of n values.
    assert loss_barrier(first, second, images, masks, segmentation_loss) == pytest.approx(expected, abs=0.02)


def test_matching_brings_weights_nearer():
    first, second = network(widths=(8, 8, 8)), network(1, widths=(8, 8, 8))

    def distance(state):
        return sum(float((state[name] - weight.detach()).square().sum()) for name, weight in first.named_parameters())

    assert distance(matched(first, second)) < distance(second.state_dict())
