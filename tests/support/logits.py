"""Logits of a made-up segmentation whose probabilities are honest, and masks drawn from them."""

import torch
from torch import Tensor

from passband.simulation.imaging import normalize


def calibrated(
    images: int = 3, pixels: int = 32, *, scale: float = 3.0, offset: float = -2.0, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return logits, smooth fields of a standard deviation and mean, and masks (bool), of shape [images, 1, pixels, pixels] each."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(images, 1, pixels, pixels, generator=generator)
    q = torch.hypot(torch.fft.fftfreq(pixels)[:, None], torch.fft.rfftfreq(pixels))
    logits = scale * normalize(torch.fft.irfft2(torch.fft.rfft2(white) * torch.exp(-((q / 0.1) ** 2)))) + offset
    return logits, torch.rand(logits.shape, generator=generator) < logits.sigmoid()
