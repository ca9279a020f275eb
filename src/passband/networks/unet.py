"""A small U-Net (Ronneberger, Fischer and Brox, MICCAI 2015)."""

from itertools import pairwise
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

Width = Annotated[int, Field(ge=1, le=4096, strict=True)]


class NetworkConfig(BaseModel):
    """Shape of the network.

    Attributes:
        widths: channels at each level; every further level halves the resolution.
        stem: side of the pixel blocks folded into channels before the first level and unfolded after the last; 2 makes
            training about three times as fast at the same number of weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=8)] = (8, 16, 32, 64)
    stem: int = Field(default=2, ge=1, le=8, strict=True)

    @property
    def divisor(self) -> int:
        """The image's side must be a multiple of this."""
        return int(self.stem * 2 ** (len(self.widths) - 1))


class UNet(nn.Module):
    """A U-Net: two convolutions a level, max-pooling down, nearest-neighbour up, skips joined.

    Batch normalisation and ReLU, but no ReLU before the head: there, all channels of a network this small may come to
    stand for background, and nothing is left that could make it sure of a particle. Maps images [B, 1, n, n] to logits [B, 1, n, n]; n a multiple of `config.divisor`.
    """

    def __init__(self, config: NetworkConfig):
        """Build the network with PyTorch's default initial weights."""
        super().__init__()
        self.stem = config.stem
        block = config.stem**2
        widths = config.widths
        self.down = nn.ModuleList(_level(i, o) for i, o in zip((block, *widths[:-1]), widths, strict=True))
        self.up = nn.ModuleList(
            _level(deep + here, here, last=level == 0)
            for level, (here, deep) in reversed(list(enumerate(pairwise(widths))))
        )
        self.head = nn.Conv2d(widths[0], block, 1)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                # Channels last makes the convolutions about 1.5 times as fast on a CPU.
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, 1, n, n] of images [B, 1, n, n]."""
        x = functional.pixel_unshuffle(images, self.stem).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for i, level in enumerate(self.down):
            x = level(functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for level, skip in zip(self.up, skips[-2::-1], strict=True):
            x = level(torch.cat([functional.interpolate(x, scale_factor=2.0, mode="nearest"), skip], 1))
        return functional.pixel_shuffle(self.head(x), self.stem)


def _level(inputs: int, outputs: int, last: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [
            nn.Conv2d(i, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*(layers[:-1] if last else layers))
