"""The eight flips and right-angle turns of the square, as acts on the specimen.

Turning an image turns its aberrations too. To show a network a turned specimen under the *same* condition, image the
specimen through the condition turned the other way, then turn the image: `matrix` gives the first, `turn` the second.
"""

import torch
from torch import Tensor

#: Number of symmetries of the square.
ORIENTATIONS = 8


def turn(images: Tensor, orientation: int, step: int = 1) -> Tensor:
    """Return images [..., n, n] flipped along the last two axes by bits 0 and 1, then transposed by bit 2.

    If the pixels are binned by `step` later, pixel 0 goes to n − step, as pixel 0 of the binned image goes to its last.
    """
    flips = [dim for dim, bit in ((-2, 1), (-1, 2)) if orientation & bit]
    flipped = torch.flip(images, flips) if flips else images
    if flips and step > 1:
        flipped = torch.roll(flipped, [1 - step] * len(flips), flips)
    return flipped.transpose(-2, -1) if orientation & 4 else flipped


def turn_each(images: Tensor, orientations: Tensor, step: int = 1) -> Tensor:
    """Return images [B, n, n], each turned by its own orientation [B], without a synchronisation with the device."""
    if images.device.type == "cpu":
        return torch.stack([turn(image, o, step) for image, o in zip(images, orientations.tolist(), strict=True)])
    for bit in (1, 2, 4):
        turned = turn(images, bit, step)
        images = torch.where((orientations & bit).bool()[:, None, None], turned, images)
    return images


def matrix(orientation: int) -> Tensor:
    """Return R of shape [2, 2] with turn(f)(r) = f(R⁻¹ r), up to a shift by one pixel."""
    flip = torch.diag(torch.tensor([-1.0 if orientation & bit else 1.0 for bit in (1, 2)]))
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]]) if orientation & 4 else torch.eye(2)
    return swap @ flip
