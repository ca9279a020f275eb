"""Compare a demo-sized study with the pipeline that one would write without passband, in core-seconds.

    python benchmarks/plain_pipeline.py [--condition INDEX]

The plain pipeline: abTEM exit waves and images of every specimen under every condition on disk as .npy, a PyTorch Dataset and
DataLoader with flips and rotations, MONAI's BasicUNet with its default features, the same loss, Adam with a one-cycle schedule.
Both run on one core. One training condition is run in full; the plain pipeline trains for the fewest epochs (of a few tried) that
reach passband's Dice on the same test specimens. The rest of the study repeats this work and is extrapolated: 240 specimens, 240
images under each of 11 conditions, 22 networks, 242 tests.
"""

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import abtem
import numpy as np
import torch
from monai.networks.nets import BasicUNet
from rows import Row, write
from torch.utils.data import DataLoader, Dataset

from passband.conditions import Condition
from passband.learning import count_pixels, predict, segmentation_loss, train
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import normalize
from passband.simulation.modality import camera_masks
from passband.specimens import draw_specimen, particle_mask
from passband.studies.study import Study, load_study

STUDY = Path(__file__).parent.parent / "studies/defocus.yaml"
# Epochs and highest learning rates tried by the plain side, the cheapest first.
TRIED = [(4, 1e-3), (4, 3e-3), (8, 1e-3), (8, 3e-3), (16, 1e-3), (16, 3e-3)]
Answer = TypeVar("Answer")
# Dice by which networks differ that differ in nothing but their seed.
SEED_NOISE = 0.005


def timed(work: Callable[..., Answer], *given: Any) -> tuple[Answer, float]:
    began = time.process_time()
    return work(*given), time.process_time() - began


def dice(logits: torch.Tensor, masks: torch.Tensor) -> float:
    counts = count_pixels(logits, masks)
    tp, fp, fn = (sum(counts[name]) for name in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn)


class Images(Dataset):  # type: ignore[type-arg]
    """Images and masks on disk, turned at random."""

    def __init__(self, folder: Path, numbers: range, turned: bool):
        """Remember where they lie."""
        self.folder, self.numbers, self.turned = folder, numbers, turned

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.numbers)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an image and its mask, [1, n, n] each."""
        image, mask = (
            torch.from_numpy(np.load(self.folder / f"{kind}{self.numbers[item]}.npy")) for kind in ("image", "mask")
        )
        image = (image - image.mean()) / image.std()
        if self.turned:
            turns, flip = int(torch.randint(4, ())), bool(torch.randint(2, ()))
            image, mask = (torch.rot90(a.flip(0) if flip else a, turns) for a in (image, mask))
        return image[None].float(), mask[None].float()


def plain_wave(study: Study, index: int) -> abtem.Waves:
    recipe, config = study.recipes[""], study.exit_waves
    phonons = abtem.FrozenPhonons(
        draw_specimen(recipe, index).atoms, config.phonon_configurations, recipe.displacements(), seed=index
    )
    n = config.grid_points(recipe.field_angstrom)
    potential = abtem.Potential(
        phonons,
        gpts=n,
        slice_thickness=config.slice_thickness_angstrom,
        parametrization="lobato",
        projection="infinite",
    )
    return abtem.PlaneWave(energy=config.energy_ev).multislice(potential).compute()


def plain_image(study: Study, wave: abtem.Waves, condition: Condition, rng: np.random.Generator) -> np.ndarray:
    ctf = abtem.CTF(**condition.aberrations, energy=300e3, focal_spread=math.sqrt(2) * condition.focal_spread_angstrom)
    intensity = (np.abs(wave.apply_ctf(ctf).array) ** 2).mean(0)
    pixels = round(study.recipes[""].field_angstrom / condition.pixel_size_angstrom)
    step = len(intensity) // pixels
    binned = intensity.reshape(pixels, step, pixels, step).mean((1, 3))
    dose = condition.dose_per_angstrom2 or 0.0
    return rng.poisson(binned * dose * condition.pixel_size_angstrom**2).astype(np.float32)


def plain_training(folder: Path, study: Study, epochs: int, rate: float) -> BasicUNet:
    torch.manual_seed(0)
    model = BasicUNet(spatial_dims=2, in_channels=1, out_channels=1)
    loader = DataLoader(
        Images(folder, range(study.split.train), True), batch_size=study.training.batch_size, shuffle=True
    )
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * len(loader), pct_start=0.3)
    for _ in range(epochs):
        for images, masks in loader:
            loss = segmentation_loss(model(images), masks).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def passband_side(study: Study, condition: Condition) -> tuple[float, float]:
    """Return core-seconds of the whole study and the Dice of one network."""
    recipe, config, split = study.recipes[""], study.exit_waves, study.split

    def make() -> tuple[torch.Tensor, torch.Tensor]:
        parts = [scatter(recipe, [i], config) for i in range(split.total)]
        waves, masks = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return waves, masks

    (waves, masks), wave_seconds = timed(make)
    imager = Imager(condition, recipe.field_angstrom, config)
    a, b = split.train, split.train + split.validation

    def network() -> torch.nn.Module:
        sources = [ImageSource(waves[s], masks[s], imager) for s in (slice(0, a), slice(a, b))]
        return train(study.network, study.training, *sources, seed=1)[0]

    model, train_seconds = timed(network)
    counts, truth = imager.images(waves[b:], masks[b:], seed=1)
    logits, test_seconds = timed(predict, model, normalize(counts)[:, None])
    networks, conditions = len(study.test_conditions) * study.seeds, len(study.test_conditions)
    total = wave_seconds + networks * (train_seconds + conditions * test_seconds)
    return total, dice(logits, truth[:, None].float())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--condition", type=int, default=2, help="index of the condition that is trained on")
    torch.set_num_threads(1)
    study = load_study(STUDY)
    condition = study.test_conditions[parser.parse_args().condition]
    split, conditions = study.split, len(study.test_conditions)
    ours, our_dice = passband_side(study, condition)
    n = study.exit_waves.grid_points(study.recipes[""].field_angstrom)
    pixels = round(study.recipes[""].field_angstrom / condition.pixel_size_angstrom)
    with (
        tempfile.TemporaryDirectory() as place,
        abtem.config.set({"diagnostics.progress_bar": False, "fftw.threads": 1}),
    ):
        folder, rng = Path(place), np.random.default_rng(0)
        wave_seconds = image_seconds = 0.0
        for i in range(split.total):
            wave, seconds = timed(plain_wave, study, i)
            wave_seconds += seconds
            image, seconds = timed(plain_image, study, wave, condition, rng)
            image_seconds += seconds
            np.save(folder / f"image{i}.npy", image)
            mask = camera_masks(torch.from_numpy(particle_mask(draw_specimen(study.recipes[""], i), n))[None], pixels)
            np.save(folder / f"mask{i}.npy", mask[0].numpy())
        tests = Images(folder, range(split.total - split.test, split.total), False)
        images, masks = (torch.stack(part) for part in zip(*(tests[i] for i in range(len(tests))), strict=True))
        said = []
        for epochs, rate in TRIED:
            model, train_seconds = timed(plain_training, folder, study, epochs, rate)
            logits, test_seconds = timed(predict, model, images)
            reached = dice(logits, masks)
            said.append(f"{epochs} epochs at {rate:g}: {reached:.3f}")
            print(said[-1], flush=True)
            if reached >= our_dice - SEED_NOISE:
                break
    networks = conditions * study.seeds
    theirs = wave_seconds + conditions * image_seconds + networks * (train_seconds + conditions * test_seconds)
    note = (
        f"core-seconds, one condition measured and scaled to the study; Dice on the same specimens: passband {our_dice:.3f}, "
        f"BasicUNet {'; '.join(said)}"
    )
    write(Row("demo-sized study beside a plain pipeline", ours, theirs, "core-seconds", theirs / ours, 3, note=note))


if __name__ == "__main__":
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    main()
