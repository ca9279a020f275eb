"""Small inputs that several tests share."""

import torch

from passband.frequencies import disc_indices

FIELD, BAND = 16.0, 1.2


def random_waves(specimens=2, phonons=3, seed=0):
    """Waves with all frequencies of the band, vacuum plus noise."""
    k = disc_indices(BAND * FIELD)
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(specimens, phonons, len(k), generator=generator, dtype=torch.complex64) * 0.02
    waves[..., (k == 0).all(1)] = 1.0
    return waves
