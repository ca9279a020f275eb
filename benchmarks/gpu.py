"""Compare a GPU with the bounds that its memory bandwidth sets; without a GPU nothing is measured.

python benchmarks/gpu.py
"""

import time
from collections.abc import Callable

import numpy as np
import torch
from ase import Atoms
from rows import Row, write

from passband.conditions import Condition
from passband.learning import Member, NetworkConfig, TrainingConfig, train_group
from passband.simulation.hrtem import Imager
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import expected_intensity, image_grid, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.multislice.engine import exit_waves

WAVES = "GPU: exit waves, 1024², 100 slices, 8 phonons"
IMAGES = "GPU: imaging, 512²"
FLEETS = "GPU: fleets of base-16 depth-3 256² U-Nets"


def rate(work: Callable[[], object], items: int) -> float:
    """Return items per second of work on the GPU, after a warm-up."""
    work()
    torch.cuda.synchronize()
    began, rounds = time.perf_counter(), 0
    while time.perf_counter() - began < 3:
        work()
        torch.cuda.synchronize()
        rounds += 1
    return items * rounds / (time.perf_counter() - began)


def bandwidth() -> float:
    """Return bytes a second that a copy reads and writes."""
    a = torch.empty(2**28, device="cuda")
    b = torch.empty_like(a)
    return rate(lambda: b.copy_(a), 2 * a.numel() * a.element_size())


def apart(ours: torch.Tensor, cpu: torch.Tensor) -> float:
    """Return the relative L2 distance of what the GPU computed from what the CPU did."""
    return float((ours.cpu() - cpu).norm() / cpu.norm())


def waves_apart() -> float:
    """How far the GPU's exit waves of two small scenes are from the CPU's."""
    rng = np.random.default_rng(1)
    scenes = [Atoms(["Au"] * 300, rng.uniform(5, 35, (300, 3)), cell=[40.0, 40.0, 40.0]) for _ in range(2)]
    config = ExitWaveConfig(phonon_configurations=2)
    found = [exit_waves(scenes, config, {"Au": 0.08}, [3, 4], device=device) for device in ("cuda", "cpu")]
    return max(
        apart(torch.as_tensor(a.coefficients), torch.as_tensor(b.coefficients)) for a, b in zip(*found, strict=True)
    )


def fleet_apart(members: int = 4) -> tuple[float, float]:
    """How far last validation losses of a fleet on the GPU are from the CPU's, noise-free and with noise; relative, the largest."""
    results = []
    for dose in (None, 500.0):
        losses = []
        for device in ("cuda", "cpu"):
            network, training = NetworkConfig(widths=(8, 16, 32)), TrainingConfig(epochs=4)
            fleet = training_fleet(members, 40, 25.6, dose, device)
            trained = train_group(network, training, fleet)
            assert not any(isinstance(t, FloatingPointError) for t in trained)
            losses.append(torch.tensor([t[1][-1]["validation_loss"] for t in trained]))  # type: ignore[index]
        results.append(float(((losses[0] - losses[1]).abs() / losses[1]).max()))
    return results[0], results[1]


def waves(speed: float) -> Row:
    """Waves a second beside six passes over 1024² complex numbers, read and written, for each of 100 slices."""
    rng = np.random.default_rng(0)
    atoms = Atoms(["Au"] * 20000, rng.uniform(0, 1, (20000, 3)) * [204.8, 204.8, 199.0], cell=[204.8, 204.8, 200.0])
    config = ExitWaveConfig(phonon_configurations=8)
    got = rate(lambda: exit_waves([atoms], config, {"Au": 0.08}, [0], device="cuda", memory=2 * 2**30), 8)
    bound = speed / (100 * 6 * 2 * 8 * 1024**2)
    note = f"two small scenes agree with the CPU's to {waves_apart():.1e} relative L2"
    return Row(WAVES, got, bound, "waves/s, bound by the measured bandwidth", got / bound, 0.5, note=note)


def images(speed: float) -> Row:
    """Images a second beside 28 bytes a pixel."""
    grid = image_grid(102.4, 1.5, 0.2)
    generator = torch.Generator("cuda").manual_seed(0)
    wave = torch.randn(1, 1, len(grid.frequencies), dtype=torch.complex64, device="cuda", generator=generator)
    given = Condition(energy_ev=300e3, focal_spread_angstrom=20.0, pixel_size_angstrom=0.2)
    transfer = transfer_on_grid(given, grid).to("cuda").expand(256, -1, -1, -1)
    got = rate(lambda: expected_intensity(wave, transfer, grid), 256)
    bound = speed / (28 * 512**2)
    cpu = expected_intensity(wave.cpu(), transfer[:1].cpu(), grid)
    note = f"agree with the CPU's to {apart(expected_intensity(wave, transfer[:1], grid), cpu):.1e} relative L2"
    return Row(IMAGES, got, bound, "images/s, bound by the measured bandwidth", got / bound, 0.5, note=note)


def training_fleet(members: int, specimens: int, field: float, dose: float | None, device: str) -> list[Member]:
    """Return members that train on random waves with a square as truth, each under a defocus of its own; 8 specimens validate."""
    grid = image_grid(field, 1.0, 0.4)
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(specimens, 1, len(grid.frequencies), dtype=torch.complex64, generator=generator).to(device)
    masks, side = torch.zeros(specimens, grid.pixels, grid.pixels, dtype=torch.bool), grid.pixels
    masks[:, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    given = Condition(energy_ev=300e3, focal_spread_angstrom=20.0, pixel_size_angstrom=0.4, dose_per_angstrom2=dose)
    fleet = []
    for i in range(members):
        condition = given.model_copy(update={"aberrations": {"C10": 10.0 * i}})
        imager = Imager(condition, field, ExitWaveConfig(band_per_angstrom=1.0))
        parts = [ImageSource(waves[part], masks[part], imager) for part in (slice(8, None), slice(0, 8))]
        fleet.append(Member(parts[0], parts[1], seed=i))
    return fleet


def fleets(members: int = 32, specimens: int = 256) -> Row:
    """Training images a second of a fleet, each member under a condition of its own, imaging and validation included."""
    fleet = training_fleet(members, specimens, 102.4, 500.0, "cuda")
    network, training = NetworkConfig(widths=(16, 32, 64, 128), stem=1), TrainingConfig(epochs=1)
    got = rate(lambda: train_group(network, training, fleet), members * (specimens - 8))
    hours = 12_000 * 32_000 / got / 3600
    quiet, noisy = fleet_apart()
    note = (
        f"last validation losses of four small networks: within {quiet:.1e} of the CPU's without noise, {noisy:.1e} with its own noise; "
        f"{members} members; at this rate 12,000 networks × 32,000 images take {hours:.1f} h, aim 10"
    )
    return Row(FLEETS, got, 25_000, "images/s, 25,000 by bandwidth", got / 25_000, 0.4, note=note)


def main() -> None:
    if not torch.cuda.is_available():
        print("no GPU at hand: nothing measured")
        return
    speed = bandwidth()
    write(waves(speed), images(speed), fleets())


if __name__ == "__main__":
    main()
