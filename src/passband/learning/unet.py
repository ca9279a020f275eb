"""A small U-Net (Ronneberger, Fischer and Brox, MICCAI 2015)."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from passband.learning.network_config import NetworkConfig


class UNet(nn.Module):
    """A U-Net: two convolutions a level on the way down and one on the way up, max-pooling down, nearest-neighbour up.

    Deep features are narrowed before they are enlarged, and skips are added, not joined: that leaves two thirds of the
    work of the classical form, and the same scores. Batch normalisation and ReLU, but no ReLU before the head: in a network this
    small all channels there may come to stand for background, and the logits of particles then stay low. Maps images [B, 1, n, n]
    to logits [B, 1, n, n]; n a multiple of `config.divisor`.

    A *group* is M such networks side by side in the channels, images and logits [B, M, n, n]: grouped convolutions keep them
    apart, and all M cost as many operations to start as one.
    """

    def __init__(self, config: NetworkConfig, group: int = 1):
        """Build a network, or a group of them, with PyTorch's default initial weights."""
        super().__init__()
        self.stem = config.stem
        block = config.stem**2 * group
        widths = tuple(width * group for width in config.widths)
        self.down = nn.ModuleList(
            _convolutions(i, o, o, groups=group) for i, o in zip((block, *widths[:-1]), widths, strict=True)
        )
        self.narrow = nn.ModuleList(
            nn.Conv2d(deep, here, 1, bias=False, groups=group) for here, deep in reversed(list(pairwise(widths)))
        )
        ups = [_convolutions(here, here, groups=group) for here in reversed(widths[:-1])]
        self.up = nn.ModuleList([*ups[:-1], ups[-1][:-1]])
        # 3 × 3: PyTorch has no fast kernel for so narrow a 1 × 1.
        self.head = nn.Conv2d(widths[0], block, 3, padding=1, groups=group)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                # Channels last makes the convolutions about 1.5 times as fast on a CPU.
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits of images, of the same shape: [B, 1, n, n], or [B, M, n, n] of a group."""
        x = functional.pixel_unshuffle(images, self.stem).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for i, level in enumerate(self.down):
            x = level(functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for narrow, level, skip in zip(self.narrow, self.up, skips[-2::-1], strict=True):
            x = level(functional.interpolate(narrow(x), scale_factor=2.0, mode="nearest") + skip)
        return functional.pixel_shuffle(self.head(x), self.stem)


def join_states(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the state of a group whose members have these states, all of one shape."""
    return {k: torch.cat([s[k] for s in states]) if v.ndim else v for k, v in states[0].items()}


def split_state(state: Mapping[str, Tensor], group: int) -> list[dict[str, Tensor]]:
    """Return the state of each member of a group."""
    return [{k: v.chunk(group)[i] if v.ndim else v for k, v in state.items()} for i in range(group)]


def fast_convolutions(device: torch.device) -> AbstractContextManager[None]:
    """Let cuDNN choose its algorithms by trial while this lasts: four times as fast for groups."""
    return torch.backends.cudnn.flags(enabled=True, benchmark=True) if device.type == "cuda" else nullcontext()


def _convolutions(*channels: int, groups: int) -> nn.Sequential:
    """Return 3 × 3 convolutions from each number of channels to the next, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for i, o in pairwise(channels):
        convolution = nn.Conv2d(i, o, 3, padding=1, bias=False, groups=groups)
        layers += [convolution, nn.BatchNorm2d(o), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
