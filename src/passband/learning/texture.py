"""Random texture on training images, so that a network meets speckle of every size whatever its optics show."""

import math

import torch
from torch import Tensor

from passband.simulation.imaging import normalize

# Standard deviation of ln |q| about a texture's own frequency.
_WIDTH = 0.3


def with_texture(
    images: Tensor, strength: float, generator: torch.Generator, band: tuple[float, float] = (0.02, 0.5)
) -> Tensor:
    """Return normalised images [B, n, n] with a random texture added to each, normalised again.

    The texture is Gaussian noise of one spatial frequency, log-normal about a value that is drawn evenly in ln |q| from
    `band` [1/pixel]; its standard deviation is drawn evenly up to `strength` times that of the image. It knows neither specimen nor optics: it is the same on
    film and particle.
    """
    device, (count, n, _) = images.device, images.shape
    frequency, share = torch.rand(2, count, 1, 1, generator=generator, device=device)
    white = torch.randn(images.shape, generator=generator, device=device)
    q = torch.hypot(torch.fft.fftfreq(n, device=device)[:, None], torch.fft.rfftfreq(n, device=device))
    centre = math.log(band[0]) + frequency * math.log(band[1] / band[0])
    weight = torch.exp(-(((q.clamp_min(1e-6).log() - centre) / _WIDTH) ** 2) / 2)
    texture = normalize(torch.fft.irfft2(torch.fft.rfft2(white) * weight, s=(n, n)))
    return normalize(images + strength * share * texture)
