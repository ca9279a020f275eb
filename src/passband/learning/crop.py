"""Windows of large fields: particles that the edge cuts, and crowds, as in micrographs."""

import torch
from torch import Tensor

from passband.simulation.imaging import normalize


def cropped(images: Tensor, masks: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a square window of each of images and masks [B, n, n], at a random place of its own, the images normalised anew.

    Every window inside the field is equally likely; `size` is its side in pixels.
    """
    device, (count, n, _) = images.device, images.shape
    first = torch.randint(n - size + 1, (2, count, 1), generator=generator, device=device)
    rows, columns = first + torch.arange(size, device=device)
    which = torch.arange(count, device=device)[:, None, None], rows[:, :, None], columns[:, None]
    return normalize(images[which]), masks[which]
