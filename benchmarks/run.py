"""Speed beside what a user would do otherwise, both sides measured in one run.

    python benchmarks/run.py

Prints a table and writes benchmarks/results.json. Each side runs once to warm up; then both take turns.
"""

import json
import math
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import abtem
import dask
import numpy as np
import torch

from passband.conditions import ImagingCondition
from passband.executor_processes import Processes
from passband.imaging import expected_intensity, image_grid, normalize, transfer_on_grid
from passband.multislice import ExitWaveConfig, specimen_exit_waves
from passband.networks import ImageSource, NetworkConfig, UNet, augment, segmentation_loss
from passband.specimen import SpecimenRecipe, draw_specimen, particle_mask
from passband.stages import make_waves, open_wave_set, prepare_waves

RECIPE, CONFIG = SpecimenRecipe(), ExitWaveConfig()
CONDITION = ImagingCondition(
    energy_ev=300e3,
    aberrations={"C10": -50.0, "C30": -5e4},
    focal_spread_angstrom=20.0,
    pixel_size_angstrom=0.4,
    dose_per_angstrom2=500.0,
)
GRID = image_grid(RECIPE.field_angstrom, CONFIG.band_per_angstrom, CONDITION.pixel_size_angstrom)
CORES = len(os.sched_getaffinity(0))


def alternate(ours: Callable[[], int], theirs: Callable[[], int], rounds: int = 7) -> tuple[list[float], list[float]]:
    """Return items per second of both sides, taking turns after one warm-up each."""
    rates: tuple[list[float], list[float]] = ([], [])
    for side in (ours, theirs):
        side()
    for _ in range(rounds):
        for rate, side in zip(rates, (ours, theirs), strict=True):
            began = time.perf_counter()
            items = side()
            rate.append(items / (time.perf_counter() - began))
    return rates


def waves(count: int = 24) -> tuple[list[float], list[float]]:
    """Specimens simulated and stored per second: our workers and store, beside abTEM's own loop as its manual shows it."""
    executor = Processes(CORES)

    def ours() -> int:
        with tempfile.TemporaryDirectory() as folder:
            executor.map(
                make_waves,
                prepare_waves(open_wave_set(RECIPE, CONFIG, Path(folder)), count, list(range(count))),
                lambda done: None,
            )
        return count

    def theirs() -> int:
        with tempfile.TemporaryDirectory() as folder, abtem.config.set({"diagnostics.progress_bar": False}):
            for i in range(count):
                atoms = draw_specimen(RECIPE, i).atoms
                phonons = abtem.FrozenPhonons(atoms, CONFIG.phonon_configurations, RECIPE.displacements(), seed=i)
                potential = abtem.Potential(
                    phonons,
                    gpts=CONFIG.grid_points(RECIPE.field_angstrom),
                    slice_thickness=CONFIG.slice_thickness_angstrom,
                    parametrization="lobato",
                    projection="infinite",
                )
                abtem.PlaneWave(energy=CONFIG.energy_ev).multislice(potential).compute().to_zarr(f"{folder}/{i}.zarr")
        return count

    try:
        return alternate(ours, theirs)
    finally:
        executor.close()


def images(coefficients: torch.Tensor) -> tuple[list[float], list[float]]:
    """Camera images of stored waves per second, beside abTEM's apply_ctf on full waves; both use all cores."""
    torch.set_num_threads(CORES)
    n = CONFIG.grid_points(RECIPE.field_angstrom)
    k = GRID.frequencies
    spectrum = torch.zeros((*coefficients.shape[:2], n, n), dtype=torch.complex64)
    spectrum[..., k[:, 0] % n, k[:, 1] % n] = coefficients
    full = [
        abtem.Waves(
            psi.numpy(),
            energy=300e3,
            extent=RECIPE.field_angstrom,
            ensemble_axes_metadata=[abtem.core.axes.FrozenPhononsAxis()],
        )
        for psi in torch.fft.ifft2(spectrum, norm="forward")
    ]
    ctf = abtem.CTF(**CONDITION.aberrations, energy=300e3, focal_spread=math.sqrt(2) * CONDITION.focal_spread_angstrom)

    def ours() -> int:
        transfer = transfer_on_grid(CONDITION, GRID)
        for chunk in coefficients.split(16):
            expected_intensity(chunk, transfer, GRID)
        return len(coefficients)

    def theirs() -> int:
        # NumPy arrays in, so abTEM computes at once, without a task graph: its faster way for a few images.
        for psi in full:
            (np.abs(psi.apply_ctf(ctf).array) ** 2).mean(0)
        return len(full)

    return alternate(ours, theirs)


def training(coefficients: torch.Tensor, masks: torch.Tensor) -> tuple[list[float], list[float]]:
    """Training images per second, imaged on the fly, beside the same network fed noisy images from .npy files."""
    torch.set_num_threads(1)
    source = ImageSource(coefficients, masks, CONDITION, GRID)
    generator = torch.Generator().manual_seed(0)

    def step(model: UNet, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, truth: torch.Tensor) -> None:
        loss = segmentation_loss(model(inputs), truth).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def network() -> tuple[UNet, torch.optim.Optimizer]:
        model = UNet(NetworkConfig())
        return model, torch.optim.Adam(model.parameters(), 1e-3)

    ours_network, theirs_network = network(), network()

    def ours() -> int:
        for chosen in torch.randperm(len(source), generator=generator).split(8):
            step(
                *ours_network,
                *source.batch(chosen, torch.randint(8, (len(chosen),), generator=generator), generator=generator),
            )
        return len(source)

    with tempfile.TemporaryDirectory() as folder:
        counts = source.counts(torch.arange(len(source)), generator=generator)
        for i, (image, mask) in enumerate(zip(counts, source.masks, strict=True)):
            np.save(f"{folder}/image{i}.npy", image.numpy())
            np.save(f"{folder}/mask{i}.npy", mask.numpy())

        def theirs() -> int:
            for chosen in torch.randperm(len(source), generator=generator).split(8):
                pairs = []
                for i in chosen.tolist():
                    turn = int(torch.randint(8, (1,), generator=generator))
                    image, mask = (torch.from_numpy(np.load(f"{folder}/{kind}{i}.npy")) for kind in ("image", "mask"))
                    pairs.append((augment.turn(normalize(image), turn), augment.turn(mask, turn).float()))
                step(*theirs_network, *(torch.stack(part)[:, None] for part in zip(*pairs, strict=True)))
            return len(source)

        return alternate(ours, theirs)


def _one_specimen(index: int) -> tuple[np.ndarray, np.ndarray]:
    torch.set_num_threads(1)
    specimen = draw_specimen(RECIPE, index)
    [wave] = specimen_exit_waves(RECIPE, [specimen], [index], CONFIG)
    return wave.coefficients, particle_mask(specimen, CONFIG.grid_points(RECIPE.field_angstrom))


def main() -> None:
    with ProcessPoolExecutor(CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        coefficients, masks = (
            torch.from_numpy(np.stack(part)) for part in zip(*pool.map(_one_specimen, range(64)), strict=True)
        )
    rows = {
        "exit waves, 2 phonon configurations": ("specimens/s", "abTEM called plainly", waves()),
        "images from stored waves": ("images/s", "abTEM apply_ctf", images(coefficients)),
        "training, one core": ("images/s", "same network, images on disk", training(coefficients, masks)),
    }
    results = {}
    print(f"{'what':<38}{'passband':>12}{'other':>12}  {'ratio':>6}  unit, other side")
    for name, (unit, other, (ours, theirs)) in rows.items():
        a, b = statistics.median(ours), statistics.median(theirs)
        # Of the rounds, not of the medians: both sides of a round met the machine in the same mood.
        ratios = sorted(x / y for x, y in zip(ours, theirs, strict=True))
        print(
            f"{name:<38}{a:>12.1f}{b:>12.1f}  {statistics.median(ratios):>6.2f}  {unit}, {other} (ratio {ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
        results[name] = {
            "unit": unit,
            "other": other,
            "passband": a,
            "other_rate": b,
            "ratio": statistics.median(ratios),
            "ratios": ratios,
        }
    machine = {
        "cores": CORES,
        "machine": platform.machine(),
        "torch": torch.__version__,
        "abtem": abtem.__version__,
        "dask": dask.__version__,
    }
    Path(__file__).with_name("results.json").write_text(
        json.dumps({"machine": machine, "results": results}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
