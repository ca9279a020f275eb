"""The loss halfway between two networks, after the channels of one are matched with those of the other."""

import copy
import math
from collections.abc import Iterator, Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from passband.learning.networks import UNet
from passband.network_measures.curvature import Loss
from passband.network_measures.network_on_images import NetworkOnImages

# Rounds of matching; few change anything after the fifth.
_ROUNDS = 20


def channel_axes(network: UNet) -> dict[str, tuple[str | None, ...]]:
    """Return, for each tensor of the state, which set of channels each of its first axes numbers; None of pixels, which have an order.

    Channels of one set have to be permuted alike: what a level hands on is added to what comes from below, so both number them alike.
    """
    axes: dict[str, tuple[str | None, ...]] = {}

    def convolution(name: str, into: str | None, out: str | None) -> None:
        axes[f"{name}.weight"], axes[f"{name}.bias"] = (out, into), (out,)

    def normalisation(name: str, out: str) -> None:
        axes.update({f"{name}.{one}": (out,) for one in ("weight", "bias", "running_mean", "running_var")})

    above: str | None = None
    for level in range(len(network.down)):
        for place, out in ((0, f"inner {level}"), (3, f"down {level}")):
            convolution(f"down.{level}.{place}", above, out)
            normalisation(f"down.{level}.{place + 1}", out)
            above = out
    for i in range(len(network.up)):
        level = len(network.up) - 1 - i
        convolution(f"narrow.{i}", above, f"down {level}")
        above = f"up {level}"
        convolution(f"up.{i}.0", f"down {level}", above)
        normalisation(f"up.{i}.1", above)
    convolution("head", above, None)
    state = network.state_dict()
    return {name: of for name, of in axes.items() if name in state}


def matched(network: UNet, other: UNet) -> dict[str, Tensor]:
    """Return the state of another network of the same shape with its channels in the order that brings its weights nearest to a network's.

    The permuted network is the same function. One set of channels at a time is matched, until none changes.

    Source: Ainsworth, Hayase and Srinivasa, ICLR 2023 (weight matching).
    """
    axes, ours = channel_axes(network), network.state_dict()
    theirs = {name: value.clone() for name, value in other.state_dict().items()}
    sets = sorted({one for of in axes.values() for one in of if one is not None})
    for _ in range(_ROUNDS):
        changed = False
        for channels in sets:
            likeness = sum(
                ours[name].movedim(axis, 0).flatten(1) @ theirs[name].movedim(axis, 0).flatten(1).T
                if ours[name].ndim > 1
                else ours[name][:, None] * theirs[name][None]
                for name, axis in _tensors(axes, channels)
                # A running variance is a scale of the images, not of the network.
                if not name.endswith(("running_mean", "running_var"))
            )
            assert isinstance(likeness, Tensor)
            order = torch.as_tensor(linear_sum_assignment(likeness.double().cpu().numpy(), maximize=True)[1])
            if not torch.equal(order, torch.arange(len(order))):
                changed = True
                for name, axis in _tensors(axes, channels):
                    theirs[name] = theirs[name].index_select(axis, order.to(theirs[name].device))
        if not changed:
            break
    return theirs


def _tensors(axes: Mapping[str, tuple[str | None, ...]], channels: str) -> Iterator[tuple[str, int]]:
    return ((name, axis) for name, of in axes.items() for axis, one in enumerate(of) if one == channels)


@torch.no_grad()
def halfway(network: UNet, other: UNet, images: Tensor) -> UNet:
    """Return the mean of a network and of another whose channels are matched with it, in evaluation mode.

    Batch normalisation takes its statistics from images [N, 1, n, n], because those of a mean of weights are not the mean of the
    statistics (Jordan et al., ICLR 2023).
    """
    mean, theirs = copy.deepcopy(network), matched(network, other)
    state = mean.state_dict()
    mean.load_state_dict(
        {name: (value + theirs[name]) / 2 if value.is_floating_point() else value for name, value in state.items()}
    )
    norms = [module for module in mean.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        # A cumulative average.
        norm.momentum = None
    mean.train()
    for part in images.split(len(images) // max(1, len(images) // 16)):
        mean(part)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return mean.eval()


@torch.no_grad()
def loss_barrier(network: UNet, other: UNet, images: Tensor, masks: Tensor, loss: Loss) -> float:
    """Return how much higher the mean loss is halfway between two networks than the mean of their losses, on the same images.

    Images and masks have the shape [N, 1, n, n].

    Source: Frankle et al., ICML 2020 (linear mode connectivity), at the middle; matched as `matched` says.
    """
    three = (network, other, halfway(network, other, images))
    first, second, middle = (
        sum(float(loss(one(x), y).sum()) for x, y in zip(images.split(16), masks.split(16), strict=True)) / len(images)
        for one in three
    )
    return middle - (first + second) / 2


def between(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the barrier between the network of a pair and the one that was trained away, on the images of both conditions.

    The larger images are cropped to the size of the smaller. NaN without such a network, or of another family than U-Nets.
    """
    if not isinstance(home.model, UNet) or not isinstance(away.local, UNet):
        return math.nan
    n = min(home.images.shape[-1], away.images.shape[-1])
    images, masks = (
        torch.cat([one[..., :n, :n] for one in both]) for both in ((home.images, away.images), (home.masks, away.masks))
    )
    return loss_barrier(home.model, away.local, images, masks, home.loss)
