"""The time of curvature on one core: the top 20 eigenpairs of a Hessian, and all measures of a pair of network and condition.

python benchmarks/curvature.py

Needs the extra `curvature`. The measures of 64 × 64 pairs should take at most 3 core-hours, 2.6 s each.
"""

import statistics
import time
from collections.abc import Callable

import torch
from rows import Row, write
from training import CONDITION, CONFIG, RECIPE

from passband.learning import NetworkConfig, TrainingConfig, build, train
from passband.network_measures.curvature import eigenpairs
from passband.network_measures.network_on_images import NetworkOnImages
from passband.network_measures.registry import MEASURES
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.image_source import ImageSource
from passband.simulation.imaging import normalize

_EIGENPAIRS, _IMAGES = 20, 40
_MOST, _MOST_OF_A_PAIR = 60.0, 3 * 3600 / 64**2


def seconds(work: Callable[[], object], rounds: int = 3) -> list[float]:
    """Return the core seconds of each round."""
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    return taken


def row(name: str, taken: list[float], most: float, note: str) -> Row:
    """Return a row of core seconds beside the most that it should take."""
    ours = statistics.median(taken)
    ratios = sorted(most / one for one in taken)
    return Row(name, ours, most, "s of a core, the most it should take", most / ours, 1, ratios, note)


def main(trained_on: int = 24) -> None:
    torch.set_num_threads(1)
    waves, masks = scatter(RECIPE, range(_IMAGES), CONFIG)
    parts = slice(trained_on), slice(trained_on, None)
    source = [ImageSource(waves[p], masks[p], Imager(CONDITION, RECIPE.field_angstrom, CONFIG)) for p in parts]
    model, _ = train(NetworkConfig(), TrainingConfig(epochs=30), *source, seed=0)
    model = model.eval()
    # For the loss barrier, which costs the same whatever the other network was trained on.
    local = build(NetworkConfig(), seed=1).eval()
    weights = sum(p.numel() for p in model.parameters())
    pixel = RECIPE.field_angstrom / 128

    def on(defocus: float) -> NetworkOnImages:
        aberrations = CONDITION.aberrations | {"C10": -defocus}
        condition = CONDITION.model_copy(update={"pixel_size_angstrom": pixel, "aberrations": aberrations})
        counts, truth = Imager(condition, RECIPE.field_angstrom, CONFIG).images(waves, masks, seed=1)
        return NetworkOnImages(model, normalize(counts)[:, None], truth[:, None].float(), pixel, local=local)

    home = on(100.0)
    name = f"Hessian, top {_EIGENPAIRS} eigenpairs, {weights:,} weights, {_IMAGES} images of 128²"
    taken = seconds(lambda: eigenpairs(home.operator("hessian"), _EIGENPAIRS))
    write(row(name, taken, _MOST, "one core"))
    chosen = [m for m in MEASURES.values() if not m.at_home_only]
    for measure in chosen:
        # What home needs is computed once for all conditions.
        measure.compute(home) if measure.of == "network" else measure.compute(home, home)

    def pair(cost: tuple[str, ...]) -> None:
        away = on(0.0)
        for measure in (m for m in chosen if m.cost in cost):
            measure.compute(away) if measure.of == "network" else measure.compute(home, away)

    every = tuple(dict.fromkeys(m.cost for m in chosen))
    each = {cost: statistics.median(seconds(lambda cost=cost: pair((cost,)))) for cost in every}  # type: ignore[misc]
    note = ", ".join(f"{cost} {taken:.2f} s" for cost, taken in each.items())
    write(
        row(
            "all measures of a network under one condition, 40 images of 128²",
            seconds(lambda: pair(every)),
            _MOST_OF_A_PAIR,
            note,
        )
    )


if __name__ == "__main__":
    main()
