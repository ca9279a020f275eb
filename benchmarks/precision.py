"""Compare networks that train in bfloat16, as on GPUs and on processors with AMX, with the same networks in float32.

    python benchmarks/precision.py

Any processor computes in bfloat16, if slowly, with the same rounding. Several seeds train on the waves of `training.py`; losses and Dice
are those of the last epoch, on validation images, in the precision of the training and in float32.
"""

import statistics
from collections.abc import Sequence

import torch
from rows import Row, write
from training import CONDITION, CONFIG, RECIPE

from passband.learning import Member, NetworkConfig, TrainingConfig, count_pixels, predict, train_group
from passband.simulation.hrtem import Imager, scatter
from passband.simulation.image_source import ImageSource

SEEDS, SPECIMENS, VALIDATED = 4, 64, 16
TRAINING = TrainingConfig(epochs=30)


def by_precision(
    network: NetworkConfig, training: TrainingConfig, members: Sequence[Member]
) -> dict[str, list[tuple[float, float]]]:
    """Return the last validation loss and the Dice of each member, trained in float32 and in bfloat16 on the device of its images."""
    found = {}
    for name, bfloat16 in (("float32", False), ("bfloat16", True)):
        trained = train_group(network, training, members, bfloat16=bfloat16)
        rows = []
        for member, result in zip(members, trained, strict=True):
            if isinstance(result, FloatingPointError):
                raise result
            model, history = result
            rows.append((history[-1]["validation_loss"], _dice(model, member)))
        found[name] = rows
    return found


def _dice(model: torch.nn.Module, member: Member) -> float:
    source = member.validation_images
    generator = torch.Generator(source.device).manual_seed(member.seed)
    images, masks = (t.cpu() for t in source.batch(torch.arange(len(source)), generator=generator))
    counts = count_pixels(predict(model, images), masks)
    tp, fp, fn = (sum(counts[name]) for name in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn)


def main() -> None:
    torch.set_num_threads(1)
    stored, masks = scatter(RECIPE, range(SPECIMENS), CONFIG)
    imager = Imager(CONDITION, RECIPE.field_angstrom, CONFIG)
    parts = slice(VALIDATED, None), slice(VALIDATED)
    images = [ImageSource(stored[part], masks[part], imager) for part in parts]
    # One by one: the larger part of a CPU's time would go into groups.
    found: dict[str, list[tuple[float, float]]] = {"float32": [], "bfloat16": []}
    for seed in range(SEEDS):
        for name, rows in by_precision(NetworkConfig(), TRAINING, [Member(images[0], images[1], seed)]).items():
            found[name] += rows
    (single, single_dice), (half, half_dice) = (zip(*found[name], strict=True) for name in ("float32", "bfloat16"))
    apart = statistics.mean(abs(a - b) for a, b in zip(single_dice, half_dice, strict=True))
    note = (
        f"mean of {SEEDS} seeds; Dice {statistics.mean(half_dice):.4f} and {statistics.mean(single_dice):.4f}, "
        f"{apart:.4f} apart for one seed, standard deviation between seeds {statistics.stdev(single_dice):.4f}"
    )
    losses = statistics.mean(half), statistics.mean(single)
    write(Row("validation loss, trained in bfloat16", *losses, "loss, float32", losses[1] / losses[0], note=note))


if __name__ == "__main__":
    main()
