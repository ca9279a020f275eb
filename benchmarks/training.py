"""Compare training on images made on the fly with training on noisy images from disk, and with options that passband does not use.

python benchmarks/training.py
"""

import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from rows import alternate, compared, write

from passband.conditions import Condition
from passband.learning import NetworkConfig, build, segmentation_loss
from passband.simulation import symmetry
from passband.simulation.hrtem import Imager
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import image_grid, normalize
from passband.simulation.multislice import ExitWaveConfig, specimen_exit_waves
from passband.specimens import SpecimenRecipe, draw_specimen, particle_mask

RECIPE, CONFIG = SpecimenRecipe(), ExitWaveConfig()
CONDITION = Condition(
    energy_ev=300e3,
    aberrations={"C10": -50.0, "C30": -5e4},
    focal_spread_angstrom=20.0,
    pixel_size_angstrom=0.4,
    dose_per_angstrom2=500.0,
)
GRID = image_grid(RECIPE.field_angstrom, CONFIG.band_per_angstrom, CONDITION.pixel_size_angstrom)


def training(coefficients: torch.Tensor, masks: torch.Tensor) -> tuple[list[float], list[float]]:
    """Training images per second, imaged on the fly, beside the same network fed noisy images from .npy files."""
    imager = Imager(CONDITION, RECIPE.field_angstrom, CONFIG)
    source = ImageSource(coefficients, masks, imager)
    generator = torch.Generator().manual_seed(0)

    def step(
        model: torch.nn.Module, optimizer: torch.optim.Optimizer, inputs: torch.Tensor, truth: torch.Tensor
    ) -> None:
        loss = segmentation_loss(model(inputs), truth).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def network() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        model = build(NetworkConfig())
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
        for i, (image, mask) in enumerate(zip(*imager.images(coefficients, masks, seed=0), strict=True)):
            np.save(f"{folder}/image{i}.npy", image.numpy())
            np.save(f"{folder}/mask{i}.npy", mask.numpy())

        def theirs() -> int:
            for chosen in torch.randperm(len(source), generator=generator).split(8):
                pairs = []
                for i in chosen.tolist():
                    turn = int(torch.randint(8, (1,), generator=generator))
                    image, mask = (torch.from_numpy(np.load(f"{folder}/{kind}{i}.npy")) for kind in ("image", "mask"))
                    pairs.append((symmetry.turn(normalize(image), turn), symmetry.turn(mask, turn).float()))
                step(*theirs_network, *(torch.stack(part)[:, None] for part in zip(*pairs, strict=True)))
            return len(source)

        return alternate(ours, theirs, rounds=15, clock=time.process_time)


def steps(fleet: int = 1, *, bf16: bool = False, compiled: bool = False) -> Callable[[], float]:
    """Return what takes ten training steps of eight images a network, and returns the number of images."""
    model = build(NetworkConfig(), fleet)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    forward = torch.compile(model) if compiled else model
    images = torch.randn(8, fleet, GRID.pixels, GRID.pixels)
    masks = (torch.rand_like(images) > 0.5).float().flatten(0, 1)[:, None]

    def work() -> float:
        for _ in range(10):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = forward(images)
            loss = segmentation_loss(logits.float().flatten(0, 1)[:, None], masks).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return 80.0 * fleet

    return work


def others() -> None:
    """Write what the same steps do in bfloat16, compiled, and in fleets on one core."""
    unit = "images/s, float32 and one network"
    for name, work, note in (
        ("bfloat16", steps(bf16=True), "taken on processors with AMX, see `precision.py` for the losses"),
        ("compiled", steps(compiled=True), "not taken: it needs a C++ compiler"),
        ("a fleet of 2", steps(2), "not taken on a CPU"),
        ("a fleet of 8", steps(8), "not taken on a CPU"),
    ):
        write(
            compared(
                f"training steps, {name}, one core", unit, alternate(work, steps(), clock=time.process_time), note=note
            )
        )


def main(count: int = 64) -> None:
    torch.set_num_threads(1)
    drawn = [draw_specimen(RECIPE, i) for i in range(count)]
    waves = specimen_exit_waves(RECIPE, drawn, range(count), CONFIG)
    n = CONFIG.grid_points(RECIPE.field_angstrom)
    coefficients = torch.from_numpy(np.stack([w.coefficients for w in waves]))
    masks = torch.from_numpy(np.stack([particle_mask(specimen, n) for specimen in drawn]))
    note = "the disk side trains on noise drawn once, passband draws it anew for every image"
    rates = training(coefficients, masks)
    write(compared("training, one core", "images/s, same network, images on disk", rates, aim=1.0, note=note))
    others()


if __name__ == "__main__":
    main()
