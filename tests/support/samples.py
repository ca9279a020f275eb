"""Small inputs that several tests share."""

import torch

from passband.base.frequencies import disc_indices

FIELD, BAND = 16.0, 1.2


def random_waves(specimens=2, phonons=3, seed=0):
    """Waves with all frequencies of the band, vacuum plus noise."""
    k = disc_indices(BAND * FIELD)
    generator = torch.Generator().manual_seed(seed)
    waves = torch.randn(specimens, phonons, len(k), generator=generator, dtype=torch.complex64) * 0.02
    waves[..., (k == 0).all(1)] = 1.0
    return waves


STAR = """
data_optics
loop_
_rlnOpticsGroup #1
_rlnVoltage #2
_rlnSphericalAberration #3
_rlnAmplitudeContrast #4
_rlnMicrographPixelSize #5
1 300.0 2.7 0.1 0.885
2 200.0 1.2 0.1 1.1

data_micrographs
loop_
_rlnMicrographName #1
_rlnOpticsGroup #2
_rlnDefocusU #3
_rlnDefocusV #4
_rlnDefocusAngle #5
a.mrc 1 9000.0 8800.0 20.0
b.mrc 2 700.0 700.0 0.0
"""
