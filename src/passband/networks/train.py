"""Training of one network under one condition."""

from collections.abc import Callable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from passband.networks.augment import ORIENTATIONS
from passband.networks.batches import ImageSource
from passband.networks.losses import segmentation_loss
from passband.networks.unet import NetworkConfig, UNet
from passband.seeds import seed_from

Epoch = dict[str, float]


class TrainingConfig(BaseModel):
    """How a network is trained.

    Attributes:
        epochs: passes over the training specimens.
        batch_size: images a step.
        optimizer: sgd (Nesterov momentum 0.9, the optimiser of arXiv:2512.09067) or adam.
        learning_rate: the highest; it rises over the first third of the steps and falls to zero along a cosine.
        weight_decay: L2 penalty of the optimiser.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=20, ge=1, le=100_000, strict=True)
    batch_size: int = Field(default=8, ge=1, le=4096, strict=True)
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = Field(default=0.008, gt=0, le=10, strict=True)
    weight_decay: float = Field(default=0.0, ge=0, le=1, strict=True)


def train(
    network: NetworkConfig,
    training: TrainingConfig,
    train_images: ImageSource,
    validation_images: ImageSource,
    *,
    seed: int,
    on_epoch: Callable[[Epoch], None] = lambda epoch: None,
) -> tuple[UNet, list[Epoch]]:
    """Return the trained network, in evaluation mode, and its loss per epoch.

    Specimens are shuffled, flipped and turned, and imaged with fresh shot noise each time; validation images have the
    same noise in every epoch. The final weights are kept, so no choice is made on the validation set.

    Args:
        network: shape of the network.
        training: how to train.
        train_images: specimens to learn from.
        validation_images: specimens to watch.
        seed: of initial weights, order, turns and noise.
        on_epoch: called with each epoch's losses.

    Raises:
        FloatingPointError: if the loss is no longer finite; a lower learning rate helps.
    """
    torch.manual_seed(seed_from("weights", seed))
    model = UNet(network)
    optimizer: torch.optim.Optimizer
    if training.optimizer == "adam":
        optimizer = torch.optim.Adam(
            model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
    else:
        optimizer = torch.optim.SGD(
            model.parameters(),
            lr=training.learning_rate,
            momentum=0.9,
            nesterov=True,
            weight_decay=training.weight_decay,
        )
    steps = -(-len(train_images) // training.batch_size) * training.epochs
    # The schedule divides by the length of its rise and fall, which therefore take two steps or more each.
    planned = max(steps, 4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=planned, pct_start=max(0.3, 2 / planned), cycle_momentum=False
    )
    history: list[Epoch] = []
    for epoch in range(training.epochs):
        generator = torch.Generator().manual_seed(seed_from("epoch", seed, epoch))
        model.train()
        losses: list[Tensor] = []
        for specimens in torch.randperm(len(train_images), generator=generator).split(training.batch_size):
            orientations = torch.randint(ORIENTATIONS, (len(specimens),), generator=generator)
            images, masks = train_images.batch(specimens, orientations, generator=generator)
            loss = segmentation_loss(model(images), masks)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.detach())
        history.append(
            {
                "epoch": epoch + 1,
                "train_loss": float(torch.cat(losses).mean()),
                "validation_loss": _validation_loss(model, validation_images, training.batch_size, seed),
            }
        )
        if not torch.isfinite(torch.tensor(list(history[-1].values()))).all():
            raise FloatingPointError(
                f"the loss is {history[-1]['train_loss']} in epoch {epoch + 1}; lower training.learning_rate from {training.learning_rate:g}"
            )
        on_epoch(history[-1])
    return model.eval(), history


@torch.no_grad()
def _validation_loss(model: UNet, images: ImageSource, batch_size: int, seed: int) -> float:
    model.eval()
    generator = torch.Generator().manual_seed(seed_from("validation", seed))
    losses = []
    for specimens in torch.arange(len(images)).split(batch_size):
        inputs, masks = images.batch(specimens, generator=generator)
        losses.append(segmentation_loss(model(inputs), masks))
    return float(torch.cat(losses).mean())
