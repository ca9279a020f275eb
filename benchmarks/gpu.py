"""Compare a GPU with the bounds that its memory bandwidth sets, measured in turn with the work; without a GPU nothing is measured.

python benchmarks/gpu.py

`tools/gpu_session` measures the same rows where a GPU is at hand for minutes only, and tries them on a CPU beforehand, where
everything is small.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from accelerator import Accelerator
from ase import Atoms
from rows import Row, compared, write

from passband.conditions import Condition
from passband.learning import Member, NetworkConfig, TrainingConfig, build, train_group
from passband.learning.fleets import ARRANGEMENTS
from passband.learning.steps import fastest, reduced_precision, seconds_per_step
from passband.simulation.hrtem import Imager
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import expected_intensity, image_grid, narrowed, transfer_on_grid
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.multislice.engine import exit_waves

WAVES = "GPU: exit waves, 1024², 100 slices, 8 phonons"
IMAGES = "GPU: imaging, 512²"
FLEETS = "GPU: fleets of base-16 depth-3 256² U-Nets"
SMALL = " (small, on a CPU)"
# Networks, and training images of each, of a study whose hours a note tells.
NETWORKS, TRAINING_IMAGES = 12_000, 32_000


def beside_bandwidth(
    name: str,
    unit: str,
    device: Accelerator,
    work: Callable[[], object],
    items: int,
    item_bytes: float,
    aim: float,
    *,
    seconds: float,
    rounds: int = 3,
) -> Row:
    """Return a row of items per second beside the number that the device could move, both measured in each round."""
    for _ in range(2):
        # The second time finds what the first compiled and cached.
        work()
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        rates[0].append(device.rate(work, items, seconds / rounds))
        rates[1].append(device.bandwidth() / item_bytes)
    small = device.kind == "cpu"
    return compared(name + SMALL * small, f"{unit}, bound by the measured bandwidth", rates, None if small else aim)


def waves(device: Accelerator, seconds: float = 6.0) -> Row:
    """Waves a second beside six passes over 1024² complex numbers, read and written, for each of 100 slices."""
    field, height, count, phonons = (204.8, 200.0, 20000, 8) if device.kind == "cuda" else (25.6, 20.0, 300, 2)
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 1, (count, 3)) * [field, field, height - 1]
    atoms = Atoms(["Au"] * count, places, cell=[field, field, height])
    config = ExitWaveConfig(phonon_configurations=phonons)
    n, slices = config.grid_points(field), height / config.slice_thickness_angstrom

    def work() -> None:
        exit_waves([atoms], config, {"Au": 0.08}, [0], device=device.kind)

    item = slices * 6 * 2 * 8 * n**2
    return beside_bandwidth(WAVES, "waves/s", device, work, phonons, item, 0.5, seconds=seconds)


def images(device: Accelerator, seconds: float = 3.0) -> Row:
    """Images a second beside 28 bytes a pixel."""
    field, count = (102.4, 256) if device.kind == "cuda" else (25.6, 8)
    whole = image_grid(field, 1.5, 0.2)
    given = Condition(energy_ev=300e3, focal_spread_angstrom=20.0, pixel_size_angstrom=0.2)
    grid = narrowed(whole, [given])
    generator = torch.Generator().manual_seed(0)
    wave = torch.randn(1, 1, len(whole.frequencies), dtype=torch.complex64, generator=generator).to(device.kind)
    transfer = transfer_on_grid(given, grid).to(device.kind).expand(count, -1, -1, -1)

    def work() -> None:
        expected_intensity(wave, transfer, grid)

    return beside_bandwidth(IMAGES, "images/s", device, work, count, 28 * grid.pixels**2, 0.5, seconds=seconds)


def training_fleet(
    members: int, specimens: int, field: float, dose: float | None, kind: Literal["cuda", "cpu"]
) -> list[Member]:
    """Return members that train on random waves with a square as truth, each under a defocus of its own; 8 specimens validate."""
    grid = image_grid(field, 1.0, 0.4)
    generator = torch.Generator().manual_seed(0)
    stored = torch.randn(specimens, 1, len(grid.frequencies), dtype=torch.complex64, generator=generator).to(kind)
    masks, side = torch.zeros(specimens, grid.pixels, grid.pixels, dtype=torch.bool), grid.pixels
    masks[:, side // 4 : 3 * side // 4, side // 4 : 3 * side // 4] = True
    given = Condition(energy_ev=300e3, focal_spread_angstrom=20.0, pixel_size_angstrom=0.4, dose_per_angstrom2=dose)
    fleet = []
    for i in range(members):
        condition = given.model_copy(update={"aberrations": {"C10": 10.0 * i}})
        imager = Imager(condition, field, ExitWaveConfig(band_per_angstrom=1.0))
        parts = [ImageSource(stored[part], masks[part], imager) for part in (slice(8, None), slice(0, 8))]
        fleet.append(Member(parts[0], parts[1], seed=i))
    return fleet


def training_bytes(network: NetworkConfig, pixels: int, number: int) -> float:
    """Return the bytes that one training image moves at least, at so many bytes a number.

    Each convolution's output is written and read by it, its normalisation and its rectifier, there and back: 18 times.
    """
    sizes: list[int] = []
    model = build(network).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda module, given, made: sizes.append(made.numel()))
    with torch.no_grad():
        model(torch.zeros(1, 1, pixels, pixels))
    return 18.0 * number * sum(sizes)


def arrangements(device: Accelerator) -> dict[str, float]:
    """Return the images a second of training steps alone, without imaging, of the row's fleet in each arrangement."""
    network, training, members, pixels = _fleet(device)
    place, images = torch.device(device.kind), members * training.batch_size
    return {a: images / seconds_per_step(network, training, members, pixels, place, a) for a in ARRANGEMENTS}


def _fleet(device: Accelerator) -> tuple[NetworkConfig, TrainingConfig, int, int]:
    """Return network, training, number of members and pixels of the fleet that is measured."""
    big = device.kind == "cuda"
    network = NetworkConfig(widths=(16, 32, 64, 128) if big else (4, 8), stem=1)
    return network, TrainingConfig(epochs=1), *((32, 256) if big else (2, 64))


def fleets(device: Accelerator, seconds: float = 12.0) -> Row:
    """Training images a second of a fleet, each member under a condition of its own, imaging and validation included."""
    network, training, members, pixels = _fleet(device)
    specimens = 256 if device.kind == "cuda" else 24
    fleet = training_fleet(members, specimens, 0.4 * pixels, 500.0, device.kind)
    arrangement = fastest(network, training, members, pixels, torch.device(device.kind))
    moved = training_bytes(network, pixels, 2 if reduced_precision(torch.device(device.kind)) else 4)

    def work() -> None:
        train_group(network, training, fleet, arrangement=arrangement)

    device.most_bytes()
    row = beside_bandwidth(FLEETS, "images/s", device, work, members * (specimens - 8), moved, 0.4, seconds=seconds)
    hours = NETWORKS * TRAINING_IMAGES / (row.ours or 1) / 3600
    note = f"{members} members, {arrangement}, {device.most_bytes() / 2**30:.1f} GiB; at this rate {NETWORKS:,} networks × {TRAINING_IMAGES:,} images take {hours:.1f} h, aim 10"
    return Row(**(vars(row) | {"note": note}))


#: The rows by name, each measured in about the seconds that it is given.
ROWS: dict[str, Callable[[Accelerator, float], Row]] = {"waves": waves, "images": images, "fleets": fleets}


def main() -> None:
    device = Accelerator("cuda")
    if not device.is_there():
        print("no GPU at hand: nothing measured")
        return
    for row in (waves(device), images(device), fleets(device)):
        write(row)


if __name__ == "__main__":
    main()
