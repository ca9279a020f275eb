"""Training of one network, or of many independent ones together."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from passband.base.identity import seed_from
from passband.learning.crop import cropped
from passband.learning.fleets import Arrangement, fleet
from passband.learning.networks import NetworkConfig, build, fast_convolutions
from passband.learning.segmentation import Segmentation
from passband.learning.steps import Steps, losses
from passband.learning.task import Task
from passband.learning.texture import with_texture
from passband.learning.training_config import TrainingConfig
from passband.simulation.image_source import JointSource, Source
from passband.simulation.symmetry import ORIENTATIONS

Epoch = dict[str, float]
#: A trained network and its losses, or why it failed.
Trained = tuple[nn.Module, list[Epoch]] | FloatingPointError
# Bytes of validation images, with their truth, that are made once and not in every epoch.
_VALIDATION = {"cpu": 2**28, "cuda": 2**32}


@dataclass(frozen=True)
class Member:
    """One network of a group: images to train and to validate on, and the seed of weights, order, turns and noise."""

    train_images: Source
    validation_images: Source
    seed: int


def train(
    network: NetworkConfig,
    training: TrainingConfig,
    train_images: Source,
    validation_images: Source,
    *,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    task: Task | None = None,
) -> tuple[nn.Module, list[Epoch]]:
    """Return the network trained on the device of its images, in evaluation mode on the CPU, and its loss per epoch.

    Specimens are shuffled, flipped and turned, and imaged with fresh shot noise each time; validation images have the
    same noise in every epoch. The final weights are returned; none are chosen on the validation set. On a GPU the network is evaluated
    in bfloat16 while it trains; `benchmarks/gpu.py` compares the losses with the CPU's. The seed is that of initial weights, order,
    turns and noise; `on_epoch` is called with each epoch's losses. The task is segmentation with the training's loss unless another is given.

    Raises:
        FloatingPointError: if the loss is no longer finite; a lower learning rate helps.
    """
    member = Member(train_images, validation_images, seed)
    [trained] = train_group(network, training, [member], on_epoch=lambda _, epoch: on_epoch(epoch), task=task)
    if isinstance(trained, FloatingPointError):
        raise trained
    return trained


def train_group(
    network: NetworkConfig,
    training: TrainingConfig,
    members: Sequence[Member],
    *,
    arrangement: Arrangement = "grouped",
    bfloat16: bool | None = None,
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None,
    task: Task | None = None,
) -> list[Trained]:
    """Train independent networks together; return what `train` would of each, or the error that it would raise.

    Each has its own images, weights, order, noise and loss. To the optimiser they are one network, but each update
    depends on one weight alone. Networks of a family that does not train in groups are trained one after another.
    All members have as many specimens, on one device; `on_epoch` is called with the place of a member and its losses. The arrangement
    changes nothing but the time (see `steps.fastest`); networks are evaluated in bfloat16 or float32, None: as `steps.reduced_precision` says.
    """
    task = Segmentation(training.loss) if task is None else task
    together = len(members) if network.trains_in_groups else 1
    trained: list[Trained] = []
    with fast_convolutions(members[0].train_images.device):
        for first in range(0, len(members), together):
            group = members[first : first + together]

            def report(place: int, epoch: Epoch, first: int = first) -> None:
                on_epoch(first + place, epoch)

            trained += _train_together(network, training, group, arrangement, bfloat16, report, task)
    return trained


def _train_together(
    network: NetworkConfig,
    training: TrainingConfig,
    members: Sequence[Member],
    arrangement: Arrangement,
    bfloat16: bool | None,
    on_epoch: Callable[[int, Epoch], None],
    task: Task,
) -> list[Trained]:
    count, device = len(members), members[0].train_images.device
    model = fleet(network, [_initial(network, member.seed) for member in members], arrangement).to(device)
    count_steps = -(-len(members[0].train_images) // training.batch_size) * training.epochs
    make, steps = (
        _BatchMaker([member.train_images for member in members]),
        Steps(model, training, count_steps, task, bfloat16),
    )
    validation = _validation_batches(members, training.batch_size)
    histories: list[list[Epoch]] = [[] for _ in members]
    errors: dict[int, FloatingPointError] = {}
    for epoch in range(training.epochs):
        model.train()
        train_losses = torch.cat([steps(*batch) for batch in _train_batches(members, training, make, epoch)]).mean(0)
        # The only wait for the device in an epoch.
        both = torch.stack([train_losses, _validation_losses(model, validation(), task, bfloat16)], 1).tolist()
        for i, (train_loss, validation_loss) in enumerate(both):
            if i in errors:
                continue
            if not math.isfinite(train_loss + validation_loss):
                errors[i] = FloatingPointError(
                    f"the loss is {train_loss} in epoch {epoch + 1}; lower training.learning_rate from {training.learning_rate:g}"
                )
                continue
            histories[i].append({"epoch": epoch + 1, "train_loss": train_loss, "validation_loss": validation_loss})
            on_epoch(i, histories[i][-1])
        if len(errors) == count:
            break
    return [
        errors.get(i) or (_member(network, state), history)
        for i, (state, history) in enumerate(zip(model.cpu().states(), histories, strict=True))
    ]


def _train_batches(
    members: Sequence[Member], training: TrainingConfig, make: "_BatchMaker", epoch: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the images and masks of an epoch's steps, [B, M, n, n]."""
    draws = [_Draws(member, "epoch", member.seed, epoch) for member in members]
    specimens, noise = len(members[0].train_images), [d.noise for d in draws]
    # Drawn at once, so that all are on the device before the first step.
    orders = make.place(torch.stack([torch.randperm(specimens, generator=d.generator) for d in draws]))
    turns = [torch.randint(ORIENTATIONS, (specimens,), generator=d.generator) for d in draws]
    for member in members:
        member.train_images.begin(epoch / training.epochs)
    size = training.batch_size
    for chosen, turned in zip(orders.split(size, 1), make.place(torch.stack(turns)).split(size, 1), strict=True):
        images, masks = make(chosen, turned, noise)
        if training.crop_pixels is not None:
            images, masks = _cropped(images, masks, training.crop_pixels, noise)
        if training.texture:
            images = _textured(images, training, noise)
        yield images, masks


class _Draws:
    """Random numbers of one member: a generator for order and turns, and one for the noise, on the images' device."""

    def __init__(self, member: Member, *names: str | int):
        device, seed = member.train_images.device, seed_from(*names)
        self.generator = torch.Generator().manual_seed(seed)
        self.noise = self.generator if device.type == "cpu" else torch.Generator(device).manual_seed(seed)


def _initial(network: NetworkConfig, seed: int) -> dict[str, Tensor]:
    return build(network, seed=seed_from("weights", seed)).state_dict()


def _member(network: NetworkConfig, state: dict[str, Tensor]) -> nn.Module:
    model = build(network)
    model.load_state_dict(state)
    return model.eval()


class _BatchMaker:
    """Makes a step's images and masks, [B, M, n, n], of specimens and orientations, [M, B], of M networks."""

    def __init__(self, sources: Sequence[Source]):
        self._sources, self._joint = sources, None
        if sources[0].device.type == "cuda":
            with suppress(ValueError):
                self._joint = JointSource(sources)

    def place(self, indices: Tensor) -> Tensor:
        """Return specimens or orientations where calls need them."""
        return indices if self._joint is None else indices.to(self._sources[0].device, non_blocking=True)

    def __call__(
        self, specimens: Tensor, orientations: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        if self._joint is not None:
            return self._joint.batch(specimens, orientations, generators)
        rows = zip(self._sources, specimens, orientations, generators, strict=True)
        batches = [source.batch(chosen, turns, generator=noise) for source, chosen, turns, noise in rows]
        images, masks = (torch.cat(parts, 1) for parts in zip(*batches, strict=True))
        return images, masks


def _cropped(images: Tensor, masks: Tensor, size: int, generators: Sequence[torch.Generator]) -> tuple[Tensor, Tensor]:
    """Return windows of images and masks [B, M, n, n] of M networks, each network's from its own generator."""
    of_each = zip(images.unbind(1), masks.unbind(1), generators, strict=True)
    windows = [cropped(image, mask, size, generator) for image, mask, generator in of_each]
    images, masks = (torch.stack(parts, 1) for parts in zip(*windows, strict=True))
    return images, masks


def _textured(images: Tensor, training: TrainingConfig, generators: Sequence[torch.Generator]) -> Tensor:
    """Return images [B, M, n, n] of M networks with the training's texture, each network's from its own generator."""
    strength, band = training.texture, training.texture_band_per_pixel
    of_each = zip(images.unbind(1), generators, strict=True)
    return torch.stack([with_texture(own, strength, generator, band) for own, generator in of_each], 1)


def _validation_batches(members: Sequence[Member], batch_size: int) -> Callable[[], Iterable[tuple[Tensor, Tensor]]]:
    """Return what gives the images and masks to validate on, [B, M, n, n], the same in every epoch; they stay in memory if they fit."""
    sources = [member.validation_images for member in members]
    make, device = _BatchMaker(sources), sources[0].device

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        noise = [_Draws(member, "validation", member.seed).noise for member in members]
        for specimens in torch.arange(len(sources[0])).split(batch_size):
            chosen = make.place(specimens.expand(len(members), -1))
            yield make(chosen, torch.zeros_like(chosen), noise)

    size = 8 * len(members) * len(sources[0]) * sources[0].parts[0].pixels ** 2
    if size > _VALIDATION[device.type]:
        return batches
    kept = list(batches())
    return lambda: kept


@torch.no_grad()
def _validation_losses(
    model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], task: Task, bfloat16: bool | None
) -> Tensor:
    """Return the mean loss of each network, [M], on the device."""
    model.eval()
    return torch.cat([losses(model, *batch, task, bfloat16) for batch in batches]).mean(0)
