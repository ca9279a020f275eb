"""A tiny network on images under two made-up conditions, and the slow references of its derivatives."""

import torch
from torch import nn

from passband.learning import NetworkConfig, build, segmentation_loss
from passband.network_measures.network_on_images import NetworkOnImages

SIDE, PIXEL = 16, 0.5


def network(seed=0, dtype=torch.float64, widths=(2, 3)):
    """A U-Net with batch statistics that a training could have left, in evaluation mode."""
    model = build(NetworkConfig(widths=widths, stem=2), seed=seed).to(dtype).train()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(4):
            model(2 * torch.randn(4, 1, SIDE, SIDE, generator=generator, dtype=dtype) + 0.3)
    return model.eval()


def images_and_masks(count=3, seed=0, blur=0.0, dtype=torch.float64):
    """Noise with a bright square a specimen, the same specimens whatever the blur."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, SIDE, SIDE, generator=generator, dtype=dtype)
    masks = torch.zeros_like(images)
    for i, (row, column) in enumerate(torch.randint(2, SIDE - 6, (count, 2), generator=generator).tolist()):
        masks[i, 0, row : row + 5, column : column + 4] = 1
    images = images + 2 * masks
    return (1 - blur) * images + blur * images.roll(1, -1), masks


def pair(model=None, **facts):
    """The same network at home and away, with two of other seeds."""
    model = network() if model is None else model
    dtype = next(model.parameters()).dtype
    facts = {"siblings": (network(1, dtype), network(2, dtype)), "local": network(3, dtype)} | facts
    return [NetworkOnImages(model, *images_and_masks(blur=blur, dtype=dtype), PIXEL, **facts) for blur in (0.0, 0.6)]


def flat_loss(state, loss=segmentation_loss):
    """The mean loss as a function of the flat weights, for torch.func."""
    names, shapes = zip(*((n, p.shape) for n, p in state.model.named_parameters()), strict=True)
    sizes = [shape.numel() for shape in shapes]
    buffers = dict(state.model.named_buffers())

    def of(weights):
        parts = (part.view(shape) for part, shape in zip(weights.split(sizes), shapes, strict=True))
        logits = torch.func.functional_call(
            state.model, dict(zip(names, parts, strict=True)) | buffers, (state.images,)
        )
        return loss(logits, state.masks).mean()

    return of


def flat_weights(model: nn.Module):
    """The weights in the order of flat vectors."""
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])
