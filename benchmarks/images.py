"""Compare imaging with abTEM's apply_ctf: one wave under many conditions, and many stored waves under one condition.

python benchmarks/images.py
"""

import contextlib
import functools
import math
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import abtem
import numpy as np
import torch
from rows import CORES, alternate, compared, write

from passband.conditions import Condition
from passband.execution.allocator import keep_freed_memory
from passband.simulation.imaging import ImageGrid, expected_intensity, image_grid, narrowed, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import SpecimenRecipe, draw_specimen

SPREAD = 20.0


def condition(defocus: float, pixel: float) -> Condition:
    return Condition(
        energy_ev=300e3, aberrations={"C10": -defocus, "C30": -5e4}, focal_spread_angstrom=SPREAD, pixel_size_angstrom=pixel
    )  # fmt: skip


def theirs_of(coefficients: torch.Tensor, grid: ImageGrid, n: int) -> abtem.Waves:
    """Return a wave [P, K] as abTEM holds it, on n² samples."""
    spectrum = torch.zeros((len(coefficients), n, n), dtype=torch.complex64)
    spectrum[..., grid.frequencies[:, 0] % n, grid.frequencies[:, 1] % n] = coefficients
    axes = [abtem.core.axes.FrozenPhononsAxis()]
    psi = torch.fft.ifft2(spectrum, norm="forward").numpy()
    return abtem.Waves(psi, energy=300e3, extent=grid.field_angstrom, ensemble_axes_metadata=axes)


def abtem_image(wave: abtem.Waves, given: Condition) -> np.ndarray:
    # NumPy arrays in, so abTEM computes at once, without a task graph: its faster way for a few images.
    ctf = abtem.CTF(**given.aberrations, energy=300e3, focal_spread=math.sqrt(2) * SPREAD)
    return (np.abs(wave.apply_ctf(ctf).array) ** 2).mean(0)


@functools.cache
def one_wave() -> torch.Tensor:
    """Return the coefficients of one specimen in a field of 102.4 Å, two phonon configurations, shape [2, K]."""
    recipe = SpecimenRecipe(field_angstrom=102.4)
    [wave] = specimen_exit_waves(recipe, [draw_specimen(recipe, 0)], [0], ExitWaveConfig(phonon_configurations=2))
    return torch.from_numpy(wave.coefficients)


def begin() -> None:
    """Prepare a process of either side: one thread, and freed memory kept, which makes both faster."""
    torch.set_num_threads(1)
    keep_freed_memory()


GRID = image_grid(102.4, 1.5, 0.2)
CONDITIONS = [condition(d, 0.2) for d in np.linspace(-250, 250, 100)]


BOTH = f"{CORES} processes of one thread on both sides"


def compare(
    ours: Callable[[Any], int], theirs: Callable[[Any], int], shares: Sequence[Any]
) -> tuple[list[float], list[float]]:
    """Return images a second of both sides, each share in a process of its own.

    In one process, the threads of abTEM's FFTW and of PyTorch stand in each other's way.
    """
    pool = functools.partial(ProcessPoolExecutor, 1, multiprocessing.get_context("spawn"), initializer=begin)
    with contextlib.ExitStack() as stack:
        workers = [[stack.enter_context(pool()) for _ in shares] for _ in (ours, theirs)]

        def side(work: Callable[[Any], int], pools: list[ProcessPoolExecutor]) -> int:
            started = [one.submit(work, share) for one, share in zip(pools, shares, strict=True)]
            return sum(each.result() for each in started)

        return alternate(lambda: side(ours, workers[0]), lambda: side(theirs, workers[1]))


def ours(conditions: list[Condition]) -> int:
    wave, grid = one_wave()[None], narrowed(GRID, conditions)
    for c in conditions:
        expected_intensity(wave, transfer_on_grid(c, grid), grid)
    return len(conditions)


def theirs(conditions: list[Condition]) -> int:
    wave = theirs_of(one_wave(), GRID, 512)
    for c in conditions:
        abtem_image(wave, c)
    return len(conditions)


def many_conditions() -> None:
    # abTEM's 512 samples fold the finest beats of |ψ|² back; compared where it has room for them.
    grid = narrowed(GRID, CONDITIONS)
    a = expected_intensity(one_wave()[None], transfer_on_grid(CONDITIONS[3], grid), grid)[0]
    wide = torch.from_numpy(abtem_image(theirs_of(one_wave(), GRID, 1024), CONDITIONS[3]))
    cropped = expected_cut(wide, 512)
    error = ((a - cropped).norm() / cropped.norm()).item()
    assert error < 1e-3, error
    rates = compare(ours, theirs, [CONDITIONS[i::CORES] for i in range(CORES)])
    note = (
        f"2 phonon configurations, {BOTH}; images agree to {error:.1e} relative L2 "
        "(abTEM on 1024² samples, cut to the camera's band)"
    )
    write(compared("one wave → 100 conditions, 512²", "images/s, abTEM apply_ctf", rates, 5, note))


def expected_cut(image: torch.Tensor, n: int) -> torch.Tensor:
    """Return an image resampled to n² by cutting its spectrum off below n / 2."""
    spectrum = torch.fft.fft2(image.double(), norm="forward")
    k = torch.arange(-(n // 2) + 1, n // 2)
    cut = torch.zeros(n, n, dtype=torch.complex128)
    cut[k[:, None] % n, k % n] = spectrum[k[:, None] % len(image), k % len(image)]
    return torch.fft.ifft2(cut, norm="forward").real.float()


@functools.cache
def many_waves(share: int) -> torch.Tensor:
    """Return the coefficients of a process's share of 32 specimens, shape [N, P, K]."""
    recipe, indices = SpecimenRecipe(), range(share, 32, CORES)
    waves = specimen_exit_waves(recipe, [draw_specimen(recipe, i) for i in indices], indices, ExitWaveConfig())
    return torch.from_numpy(np.stack([wave.coefficients for wave in waves]))


def our_images(share: int) -> int:
    full, given = image_grid(SpecimenRecipe().field_angstrom, 1.5, 0.4), condition(50.0, 0.4)
    grid = narrowed(full, [given])
    return len(expected_intensity(many_waves(share), transfer_on_grid(given, grid), grid))


@functools.cache
def their_waves(share: int) -> list[abtem.Waves]:
    grid = image_grid(SpecimenRecipe().field_angstrom, 1.5, 0.4)
    return [theirs_of(coefficients, grid, 256) for coefficients in many_waves(share)]


def their_images(share: int) -> int:
    for wave in their_waves(share):
        abtem_image(wave, condition(50.0, 0.4))
    return len(their_waves(share))


def stored_waves() -> None:
    rates = compare(our_images, their_images, list(range(CORES)))
    write(compared("images from stored waves, 128²", "images/s, abTEM apply_ctf at 256²", rates, note=BOTH))


if __name__ == "__main__":
    many_conditions()
    stored_waves()
