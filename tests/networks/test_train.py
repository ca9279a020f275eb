import math
import sys

import pytest
import torch

from passband.conditions import ImagingCondition
from passband.frequencies import disc_indices
from passband.imaging import image_grid
from passband.networks import ImageSource, NetworkConfig, TrainingConfig, segmentation_loss, train

FIELD, BAND = 12.8, 1.0
NETWORK = NetworkConfig(widths=(8, 16), stem=1)


def bright_squares(specimens, seed):
    """Amplitude objects: a square absorbs; anyone can segment them."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(specimens, 32, 32, dtype=torch.bool)
    for mask in masks:
        x, y = torch.randint(2, 18, (2,), generator=generator)
        mask[x : x + 12, y : y + 12] = True
    k = disc_indices(BAND * FIELD)
    spectrum = torch.fft.fft2(1 - 0.3 * masks.float(), norm="forward")
    coefficients = spectrum[:, k[:, 0] % 32, k[:, 1] % 32].to(torch.complex64)[:, None]
    condition = ImagingCondition(energy_ev=300e3, dose_per_angstrom2=500.0)
    return ImageSource(coefficients, masks, condition, image_grid(FIELD, BAND, 0.4))


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_learns_what_can_be_learnt(optimizer):
    seen = []
    config = TrainingConfig(
        epochs=12, batch_size=4, optimizer=optimizer, learning_rate=0.01 if optimizer == "adam" else 0.1
    )
    _, history = train(NETWORK, config, bright_squares(24, 1), bright_squares(8, 2), seed=5, on_epoch=seen.append)
    assert seen == history
    assert [h["epoch"] for h in history] == list(range(1, 13))
    assert history[-1]["validation_loss"] < 0.35 * history[0]["validation_loss"]


def test_same_seed_same_weights():
    config = TrainingConfig(epochs=2, batch_size=4)
    runs = [train(NETWORK, config, bright_squares(8, 1), bright_squares(4, 2), seed=s) for s in (5, 5, 6)]
    weights = [torch.cat([p.flatten() for p in model.parameters()]) for model, _ in runs]
    assert torch.equal(weights[0], weights[1])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_few_steps_are_enough_for_the_schedule(epochs):
    # 2 steps an epoch: 2, 4 and 10 in all.
    _, history = train(
        NETWORK, TrainingConfig(epochs=epochs, batch_size=4), bright_squares(8, 1), bright_squares(4, 2), seed=1
    )
    assert len(history) == epochs


def test_training_that_diverges_says_so(monkeypatch):
    # Batch normalisation survives absurd learning rates, so the loss itself is made to overflow.
    monkeypatch.setattr(
        sys.modules["passband.networks.train"],
        "segmentation_loss",
        lambda logits, masks: segmentation_loss(logits, masks) * math.inf,
    )
    config = TrainingConfig(epochs=3, batch_size=4, optimizer="sgd", learning_rate=10.0)
    with pytest.raises(FloatingPointError, match="lower training.learning_rate from 10"):
        train(NETWORK, config, bright_squares(8, 1), bright_squares(4, 2), seed=1)
