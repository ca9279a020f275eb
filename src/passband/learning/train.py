"""Training of one network, or of many independent ones together."""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor, nn

from passband.base.frozen_model import FrozenModel
from passband.base.identity import seed_from
from passband.learning.crop import cropped
from passband.learning.networks import NetworkConfig, build, fast_convolutions, join_states, split_state
from passband.learning.task import LossName, Segmentation, Task
from passband.learning.texture import with_texture
from passband.simulation.image_source import JointSource, Source
from passband.simulation.symmetry import ORIENTATIONS

Epoch = dict[str, float]
Frequency = Annotated[float, Field(gt=0, le=0.5, strict=True)]
#: A trained network and its losses, or why it failed.
Trained = tuple[nn.Module, list[Epoch]] | FloatingPointError
# Fields of a training that came later, at their defaults.
_LATER = {"crop_pixels": None, "loss": "cross_entropy_dice", "texture": 0.0, "texture_band_per_pixel": (0.02, 0.5)}
# Specimens [M, B], orientations [M, B] and the networks' generators → images and masks, [B, M, n, n].
_BatchMaker = Callable[[Tensor, Tensor, Sequence[torch.Generator]], tuple[Tensor, Tensor]]


class TrainingConfig(FrozenModel):
    """How a network is trained.

    Attributes:
        epochs: passes over the training specimens.
        batch_size: images a step.
        optimizer: sgd (Nesterov momentum 0.9, the optimiser of arXiv:2512.09067) or adam.
        learning_rate: the highest; it rises over the first third of the steps and falls to zero along a cosine.
        weight_decay: L2 penalty of the optimiser.
        texture: standard deviation, up to this many times the image's own, of random texture added to each training image
            (`learning/texture.py`).
        texture_band_per_pixel: its lowest and highest spatial frequency [1/pixel].
        crop_pixels: side of a window of each training image, at a random place, that the network sees; None shows it whole fields.
        loss: what is minimised, and what tests score: cross_entropy_dice, cross_entropy, or softmax_cross_entropy (`learning/task.py`).
    """

    epochs: int = Field(default=20, ge=1, le=100_000, strict=True)
    batch_size: int = Field(default=8, ge=1, le=4096, strict=True)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=0.008, gt=0, le=10, strict=True)
    weight_decay: float = Field(default=0.0, ge=0, le=1, strict=True)
    texture: float = Field(default=0.0, ge=0, le=10, strict=True)
    texture_band_per_pixel: tuple[Frequency, Frequency] = (0.02, 0.5)
    crop_pixels: Annotated[int, Field(ge=16, le=4096, strict=True)] | None = None
    loss: LossName = "cross_entropy_dice"

    @model_serializer(mode="wrap")
    def _without_the_usual(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit later fields at their defaults, which keeps the ids of networks that were trained before there were others."""
        content: dict[str, Any] = write(self)
        return {
            name: value for name, value in content.items() if name not in _LATER or getattr(self, name) != _LATER[name]
        }


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
    on_epoch: Callable[[int, Epoch], None] = lambda member, epoch: None,
    task: Task | None = None,
) -> list[Trained]:
    """Train independent networks together; return what `train` would of each, or the error that it would raise.

    Each has its own images, weights, order, noise and loss. To the optimiser they are one network, but each update
    depends on one weight alone. Networks of a family that does not train in groups are trained one after another.
    All members have as many specimens, on one device; `on_epoch` is called with the place of a member and its losses.
    """
    task = Segmentation(training.loss) if task is None else task
    together = len(members) if network.trains_in_groups else 1
    trained: list[Trained] = []
    with fast_convolutions(members[0].train_images.device):
        for first in range(0, len(members), together):
            group = members[first : first + together]

            def report(place: int, epoch: Epoch, first: int = first) -> None:
                on_epoch(first + place, epoch)

            trained += _train_together(network, training, group, report, task)
    return trained


def _train_together(
    network: NetworkConfig,
    training: TrainingConfig,
    members: Sequence[Member],
    on_epoch: Callable[[int, Epoch], None],
    task: Task,
) -> list[Trained]:
    count, device = len(members), members[0].train_images.device
    model = build(network, count)
    model.load_state_dict(join_states([_initial(network, member.seed) for member in members]))
    model.to(device)
    specimens = len(members[0].train_images)
    train_batch = _batch_maker([member.train_images for member in members])
    validation_batch = _batch_maker([member.validation_images for member in members])
    optimizer = _optimizer(training, model)
    schedule = _schedule(training, optimizer, -(-specimens // training.batch_size) * training.epochs)
    histories: list[list[Epoch]] = [[] for _ in members]
    errors: dict[int, FloatingPointError] = {}
    for epoch in range(training.epochs):
        draws = [_Draws(member, "epoch", member.seed, epoch) for member in members]
        orders = [torch.randperm(specimens, generator=d.generator).split(training.batch_size) for d in draws]
        for member in members:
            member.train_images.begin(epoch / training.epochs)
        model.train()
        losses: list[Tensor] = []
        for chosen in map(torch.stack, zip(*orders, strict=True)):
            turns = [torch.randint(ORIENTATIONS, chosen.shape[1:], generator=d.generator) for d in draws]
            images, masks = train_batch(chosen, torch.stack(turns), [d.noise for d in draws])
            if training.crop_pixels is not None:
                images, masks = _cropped(images, masks, training.crop_pixels, [d.noise for d in draws])
            if training.texture:
                images = _textured(images, training, [d.noise for d in draws])
            loss = _losses(model, images, masks, task)
            optimizer.zero_grad()
            # The mean over a batch for each member, and the sum of those.
            loss.mean(0).sum().backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        train_losses = torch.cat(losses).mean(0).tolist()
        validation_losses = _validation_losses(model, members, validation_batch, training.batch_size, task)
        for i, (train_loss, validation_loss) in enumerate(zip(train_losses, validation_losses, strict=True)):
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
        for i, (state, history) in enumerate(zip(split_state(model.cpu().state_dict(), count), histories, strict=True))
    ]


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


def _optimizer(training: TrainingConfig, model: nn.Module) -> torch.optim.Optimizer:
    weights, rate, decay = model.parameters(), training.learning_rate, training.weight_decay
    if training.optimizer == "adam":
        return torch.optim.Adam(weights, lr=rate, weight_decay=decay, fused=True)
    return torch.optim.SGD(weights, lr=rate, momentum=0.9, nesterov=True, weight_decay=decay)


def _schedule(
    training: TrainingConfig, optimizer: torch.optim.Optimizer, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    # The schedule divides by the lengths of its rise and fall: at least two steps each.
    planned = max(steps, 4)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=planned, pct_start=max(0.3, 2 / planned), cycle_momentum=False
    )


def _batch_maker(sources: Sequence[Source]) -> _BatchMaker:
    """Return what makes a step's images and masks, [B, M, n, n], of specimens and orientations, [M, B], of M networks."""
    if sources[0].device.type == "cuda":
        with suppress(ValueError):
            return JointSource(sources).batch

    def one_by_one(
        specimens: Tensor, orientations: Tensor, generators: Sequence[torch.Generator]
    ) -> tuple[Tensor, Tensor]:
        rows = zip(sources, specimens, orientations, generators, strict=True)
        batches = [source.batch(chosen, turns, generator=noise) for source, chosen, turns, noise in rows]
        images, masks = (torch.cat(parts, 1) for parts in zip(*batches, strict=True))
        return images, masks

    return one_by_one


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


def _losses(model: nn.Module, images: Tensor, masks: Tensor, task: Task) -> Tensor:
    """Return the loss of each image and member, shape [B, M]."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=images.device.type == "cuda"):
        outputs = model(images)
    outputs = outputs.float()
    return task.loss(outputs.flatten(0, 1)[:, None], masks.flatten(0, 1)[:, None]).view(len(outputs), -1)


@torch.no_grad()
def _validation_losses(
    model: nn.Module, members: Sequence[Member], batch: _BatchMaker, batch_size: int, task: Task
) -> list[float]:
    model.eval()
    noise = [_Draws(member, "validation", member.seed).noise for member in members]
    losses = []
    for specimens in torch.arange(len(members[0].validation_images)).split(batch_size):
        chosen = specimens.expand(len(members), -1)
        losses.append(_losses(model, *batch(chosen, torch.zeros_like(chosen), noise), task))
    return torch.cat(losses).mean(0).tolist()
