"""What the scores of particles and outlines add to the time of a test: network, loss and pixel counts, with them and without.

python benchmarks/scores.py
"""

import time
from collections.abc import Callable

import torch
from rows import alternate, compared, write
from training import CONDITION, CONFIG, RECIPE

from passband.learning import SEGMENTATION, NetworkConfig, TrainingConfig, count_pixels, predict, train
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import normalize

# A network that finds particles: one that marks noise would have longer outlines.
TRAINING = TrainingConfig(epochs=30)


def tests(
    images: torch.Tensor, masks: torch.Tensor, pixel: float, network: torch.nn.Module
) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return a test of a network with all scores, and one with loss and pixel counts alone; the truth is measured once for both."""
    targets, truth = masks[:, None].float(), SEGMENTATION.truth(masks.numpy(), pixel)

    def with_particles() -> int:
        SEGMENTATION.score(predict(network, images), targets, truth)
        return len(images)

    def pixels_alone() -> int:
        count_pixels(predict(network, images), targets)
        return len(images)

    return with_particles, pixels_alone


def main(count: int = 40, trained_on: int = 24) -> None:
    torch.set_num_threads(1)
    waves, masks = scatter(RECIPE, range(count), CONFIG)
    imager = Imager(CONDITION, RECIPE.field_angstrom, CONFIG)
    sources = [ImageSource(waves[part], masks[part], imager) for part in (slice(trained_on), slice(trained_on, None))]
    network, history = train(NetworkConfig(), TRAINING, *sources, seed=0)
    for pixels in (128, 192):
        pixel = RECIPE.field_angstrom / pixels
        seen = Imager(CONDITION.model_copy(update={"pixel_size_angstrom": pixel}), RECIPE.field_angstrom, CONFIG)
        counts, truth = seen.images(waves, masks, seed=1)
        sides = tests(normalize(counts)[:, None], truth, pixel, network)
        rates = alternate(*sides, rounds=15, clock=time.process_time)
        row = compared(
            f"a test with scores of particles, {pixels}² pixels, one core",
            "images/s, loss and pixel counts alone",
            rates,
            aim=round(1 / 1.3, 2),
            note=f"the network's validation loss is {history[-1]['validation_loss']:.2f}",
        )
        write(row)
        print(f"{pixels}²: a test takes {1 / (row.ratio or 1):.2f} times as long as without")


if __name__ == "__main__":
    main()
