"""Images of a film whose optics are known, by a plainly written transfer function."""

import math

import numpy as np

from passband.micrographs.micrograph import Micrograph

LAMBDA = 0.0196875


def micrograph(
    defocus, *, C12=0.0, phi12=0.0, C30=0.0, spread=30.0, n=512, pixel=0.4, dose=1000.0, seed=0, gold=0.0, film=0.12
):
    """A random phase object through its own, plainly written transfer function, its |ψ|² counted.

    Args:
        defocus: −C10 [Å].
        C12: [Å].
        phi12: [rad].
        C30: [Å].
        spread: of the focus [Å].
        n: pixels a side.
        pixel: [Å].
        dose: [e/Å²].
        seed: of film and counts.
        gold: radius of a disc with a lattice in the film's middle [Å].
        film: standard deviation of its phase [rad].
    """
    rng = np.random.default_rng(seed)
    k = np.fft.fftfreq(n, pixel)
    qx, qy = np.meshgrid(k, k)  # x along the columns
    q, angle = np.hypot(qx, qy), np.arctan2(qy, qx)
    phase = np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, n))) / (1 + (q / 0.5) ** 2)).real
    phase *= film / max(phase.std(), 1e-9)
    if gold:
        x, y = np.meshgrid(*(pixel * (np.arange(n) - n / 2),) * 2)
        for turn in (0.2, 0.2 + math.acos(1 / 3)):
            waves = np.cos(2 * np.pi / 2.355 * (x * math.cos(turn) + y * math.sin(turn)))
            phase += 0.3 * (np.hypot(x, y) < gold) * waves
    chi = np.pi * LAMBDA * q**2 * (-defocus + C12 * np.cos(2 * (angle - phi12)) + 0.5 * C30 * LAMBDA**2 * q**2)
    transfer = np.exp(-1j * chi - 0.5 * (np.pi * LAMBDA * spread * q**2) ** 2)
    intensity = np.abs(np.fft.ifft2(np.fft.fft2(np.exp(1j * phase)) * transfer)) ** 2
    return Micrograph(rng.poisson(intensity * dose * pixel**2).astype(np.float32), pixel, 300e3)
