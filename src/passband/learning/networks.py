"""Which network a study trains, and the families: a small U-Net, and MONAI's U-Net with a ResNet as encoder."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from torch import Tensor, nn
from torch.nn import functional

from passband.base.frozen_model import FrozenModel

Width = Annotated[int, Field(ge=1, le=4096, strict=True)]
# What shapes a network of each family.
_SHAPES = {"unet": ("widths", "stem"), "resnet_unet": ("backbone",)}
# Channels of a ResNet's decoder, from 1/16 of the resolution to all of it: half of MONAI's but for the last. Training is a quarter
# to a third faster and losses stay the same.
_DECODER = (128, 64, 32, 16, 16)


class NetworkConfig(FrozenModel):
    """Family and shape of the network.

    Attributes:
        family: unet, a small one; or resnet_unet, whose encoder is a ResNet (He, Zhang, Ren and Sun, CVPR 2016), some hundred
            times as many weights.
        widths: of a unet, channels at each level; every further level halves the resolution.
        stem: of a unet, side of the pixel blocks folded into channels before the first level and unfolded after the last;
            2 makes training about three times as fast at the same number of weights.
        backbone: of a resnet_unet, its encoder.
        outputs: of each pixel; follows from the task (`Task.outputs`), and a study sets it.
    """

    family: Literal["unet", "resnet_unet"] = "unet"
    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=8)] = (8, 16, 32, 64)
    stem: int = Field(default=2, ge=1, le=8, strict=True)
    backbone: Literal["resnet10", "resnet18", "resnet34"] = "resnet18"
    outputs: int = Field(default=1, ge=1, le=256, strict=True)

    @model_validator(mode="after")
    def _of_one_family(self) -> "NetworkConfig":
        shape = _SHAPES[self.family]
        others = (name for names in _SHAPES.values() for name in names if name not in shape)
        if given := " and ".join(name for name in others if name in self.model_fields_set):
            raise ValueError(
                f"{given} cannot shape a network of family {self.family}, which takes {' and '.join(shape)}; remove {given} or change family"
            )
        return self

    @property
    def divisor(self) -> int:
        """The image's side must be a multiple of this."""
        # Stem, pooling and three of four stages of a ResNet halve.
        return 2**5 if self.family == "resnet_unet" else int(self.stem * 2 ** (len(self.widths) - 1))

    @property
    def trains_in_groups(self) -> bool:
        """Whether many such networks can be trained as one grouped network."""
        return self.family == "unet"

    @model_serializer(mode="wrap")
    def _without_other_families(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit what shapes other families, the first family's name and a single output, which keeps the ids of networks that had no other."""
        content: dict[str, Any] = write(self)
        names = {*_SHAPES[self.family]} | ({"family"} if self.family != "unet" else set())
        names |= {"outputs"} if self.outputs > 1 else set()
        return {name: value for name, value in content.items() if name in names}


def build(config: NetworkConfig, group: int = 1, *, seed: int = 0) -> nn.Module:
    """Return a network with random initial weights by a seed; PyTorch's global generator stays as it is.

    It maps images [B, 1, n, n] to logits [B, K, n, n] of K outputs, n a multiple of the config's divisor. A group is of independent
    networks side by side in the channels; ValueError if the family does not train in groups.
    """
    if group > 1 and not config.trains_in_groups:
        raise ValueError(
            f"networks of family {config.family} do not train in groups (of {group}); build them one by one"
        )
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return UNet(config, group) if config.family == "unet" else _resnet_unet(config)


@torch.no_grad()
def predict(model: nn.Module, images: Tensor, batch_size: int = 16) -> Tensor:
    """Return logits [B, K, n, n] of images [B, 1, n, n] of zero mean and unit variance; the network in evaluation mode."""
    return torch.cat([model(chunk) for chunk in images.split(batch_size)])


def _resnet_unet(config: NetworkConfig) -> nn.Module:
    """Return MONAI's FlexibleUNet for images whose side is a multiple of 32; nothing is downloaded."""
    # The import takes seconds, and few studies need it.
    from monai.networks.nets import FlexibleUNet

    network = FlexibleUNet(
        in_channels=1,
        out_channels=config.outputs,
        backbone=config.backbone,
        pretrained=False,
        decoder_channels=_DECODER,
        spatial_dims=2,
    )
    # As in `UNet`: faster on a CPU.
    return network.to(memory_format=torch.channels_last)


class UNet(nn.Module):
    """A small U-Net (Ronneberger, Fischer and Brox, MICCAI 2015): two convolutions a level on the way down and one on the way up.

    Deep features are narrowed before they are enlarged (nearest neighbour), and skips are added, not joined: that leaves two thirds
    of the work of the classical form, and the same scores. Batch normalisation and ReLU, but no ReLU before the head: in a network
    this small all channels there may come to stand for background, and the logits of particles then stay low. Maps images
    [B, 1, n, n] to logits [B, K, n, n] of `config.outputs`; n a multiple of `config.divisor`.

    A *group* is M such networks side by side in the channels, images [B, M, n, n] and logits [B, M K, n, n], all outputs of the first
    network first: grouped convolutions keep them apart, and all M cost as many operations to start as one.
    """

    def __init__(self, config: NetworkConfig, group: int = 1):
        """Build a network, or a group of them, with PyTorch's default initial weights."""
        super().__init__()
        self.stem = config.stem
        #: Whether the memory of features is channels last, which `vmap` cannot ask for.
        self.channels_last = True
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
        self.head = nn.Conv2d(widths[0], block * config.outputs, 3, padding=1, groups=group)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                # Channels last makes the convolutions about 1.5 times as fast on a CPU.
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits [B, K, n, n] of images [B, 1, n, n], or [B, M K, n, n] of images [B, M, n, n] of a group."""
        x = functional.pixel_unshuffle(images, self.stem)
        if self.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
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
