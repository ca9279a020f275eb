import math
import sys
from dataclasses import replace

import pytest
import torch

from passband.base.frequencies import disc_indices
from passband.conditions import Condition
from passband.learning import Member, NetworkConfig, TrainingConfig, segmentation_loss, train, train_group
from passband.learning.segmentation import Segmentation
from passband.simulation.hrtem import Imager
from passband.simulation.image_source import ImageSource
from passband.simulation.multislice import ExitWaveConfig

BAND, PIXEL = 1.0, 0.4
CONFIG = ExitWaveConfig(band_per_angstrom=BAND)
NETWORK = NetworkConfig(widths=(8, 16), stem=1)
RESNET = NetworkConfig(family="resnet_unet", backbone="resnet10")


def bright_squares(specimens, seed, pixels=32):
    """Amplitude objects: a square absorbs; anyone can segment them."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(specimens, pixels, pixels, dtype=torch.bool)
    side = 3 * pixels // 8
    for mask in masks:
        x, y = torch.randint(2, pixels - side - 2, (2,), generator=generator)
        mask[x : x + side, y : y + side] = True
    k = disc_indices(BAND * PIXEL * pixels)
    spectrum = torch.fft.fft2(1 - 0.3 * masks.float(), norm="forward")
    coefficients = spectrum[:, k[:, 0] % pixels, k[:, 1] % pixels].to(torch.complex64)[:, None]
    condition = Condition(energy_ev=300e3, dose_per_angstrom2=500.0)
    return ImageSource(coefficients, masks, Imager(condition, PIXEL * pixels, CONFIG))


def weights(model):
    return torch.cat([value.flatten().float() for value in model.state_dict().values()])


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


@pytest.mark.parametrize(("network", "pixels"), [(NETWORK, 32), (RESNET, 64)])
def test_same_seed_same_weights(network, pixels):
    config = TrainingConfig(epochs=2, batch_size=4)
    images = bright_squares(8, 1, pixels), bright_squares(4, 2, pixels)
    (first, history), (again, repeated), (other, _) = (train(network, config, *images, seed=s) for s in (5, 5, 6))
    assert torch.equal(weights(first), weights(again))
    assert history == repeated
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_few_steps_are_enough_for_the_schedule(epochs):
    # 2 steps an epoch: 2, 4 and 10 in all.
    _, history = train(
        NETWORK, TrainingConfig(epochs=epochs, batch_size=4), bright_squares(8, 1), bright_squares(4, 2), seed=1
    )
    assert len(history) == epochs


def test_training_that_diverges_says_so():
    # Batch normalisation survives absurd learning rates, so the loss itself is made to overflow.
    class Overflowing(Segmentation):
        def loss(self, outputs, targets):
            return segmentation_loss(outputs, targets) * math.inf

    config = TrainingConfig(epochs=3, batch_size=4, optimizer="sgd", learning_rate=10.0)
    with pytest.raises(FloatingPointError, match="lower training.learning_rate from 10"):
        train(NETWORK, config, bright_squares(8, 1), bright_squares(4, 2), seed=1, task=Overflowing())


def test_another_task_brings_its_own_loss():
    """Regression of the mask as a number: outputs are not logits, and the loss is the mean square."""

    class Regression(Segmentation):
        def loss(self, outputs, targets):
            return (outputs - targets).square().mean((1, 2, 3))

    config = TrainingConfig(epochs=8, batch_size=4, learning_rate=0.01)
    images = bright_squares(16, 1), bright_squares(4, 2)
    model, history = train(NETWORK, config, *images, seed=5, task=Regression())
    shown, truth = images[1].batch(torch.arange(4), generator=torch.Generator().manual_seed(1))
    assert history[-1]["validation_loss"] < 0.5 * history[0]["validation_loss"]
    with torch.no_grad():
        assert (model(shown) - truth).square().mean() < 0.5 * truth.var()


def with_defocus(images, defocus):
    changed = images.condition.model_copy(update={"aberrations": {"C10": -defocus}})
    return ImageSource(images._stored, images.masks, Imager(changed, PIXEL * len(images.masks[0]), CONFIG))


def group():
    """Four networks: two seeds under one condition, and two other conditions with other specimens in other order."""
    first, watched = bright_squares(10, 1), bright_squares(4, 2)
    return [
        Member(first, watched, 1),
        Member(first, watched, 2),
        Member(with_defocus(first, 80.0), with_defocus(watched, 80.0), 1),
        Member(with_defocus(first, 200.0), with_defocus(watched, 200.0), 7),
    ]


@pytest.mark.parametrize(
    ("arrangement", "network", "more"),
    [
        ("grouped", NETWORK, {"optimizer": "adam"}),
        ("grouped", NetworkConfig(widths=(8, 16, 16), stem=2), {"optimizer": "sgd", "texture": 0.5, "crop_pixels": 24}),
        ("stacked", NetworkConfig(widths=(8, 16, 16), stem=2), {"optimizer": "adam"}),
        ("separate", NETWORK, {"optimizer": "sgd"}),
    ],
)
def test_a_member_of_a_group_is_the_network_trained_alone(arrangement, network, more):
    # The rate is low, for training magnifies differences in the last digit.
    config = TrainingConfig(epochs=4, batch_size=4, learning_rate=1e-3, weight_decay=0.01, **more)
    members, seen = group(), []
    together = train_group(
        network, config, members, arrangement=arrangement, on_epoch=lambda place, epoch: seen.append(place)
    )
    assert seen == [0, 1, 2, 3] * 4
    curves = []
    for member, (model, history) in zip(members, together, strict=True):
        alone, expected = train(network, config, member.train_images, member.validation_images, seed=member.seed)
        for ours, theirs in zip(history, expected, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-4)
        for name, value in alone.state_dict().items():
            assert torch.allclose(model.state_dict()[name].float(), value.float(), atol=1e-3), name
        curves.append([epoch["train_loss"] for epoch in history])
    differences = [max(abs(x - y) for x, y in zip(a, b, strict=True)) for a in curves for b in curves if a is not b]
    assert min(differences) > 1e-3


def test_bfloat16_changes_losses_by_little_in_every_arrangement():
    config, members = TrainingConfig(epochs=4, batch_size=4), group()
    single = train_group(NETWORK, config, members)
    for arrangement in ("grouped", "separate"):
        half = train_group(NETWORK, config, members, arrangement=arrangement, bfloat16=True)
        for (_, ours), (_, theirs) in zip(half, single, strict=True):
            assert ours != theirs
            assert [e["train_loss"] for e in ours] == pytest.approx([e["train_loss"] for e in theirs], rel=0.05)


def test_many_validation_images_are_made_anew_in_every_epoch_and_stay_the_same(monkeypatch):
    config = TrainingConfig(epochs=3, batch_size=4)
    images = bright_squares(8, 1), bright_squares(6, 2)
    _, kept = train(NETWORK, config, *images, seed=5)
    monkeypatch.setitem(sys.modules["passband.learning.train"]._VALIDATION, "cpu", 0)
    _, made = train(NETWORK, config, *images, seed=5)
    assert made == kept


@pytest.fixture
def spoilt(monkeypatch):
    """Initial weights of seed 5 are not numbers."""
    module = sys.modules["passband.learning.train"]
    real = module._initial

    def initial(network, seed):
        state = real(network, seed)
        if seed == 5:
            *_, head_bias = state.values()
            head_bias[:] = math.nan
        return state

    monkeypatch.setattr(module, "_initial", initial)


def test_a_member_that_diverges_leaves_the_others_as_they_are(spoilt):
    members = group()
    sick = [*members[:2], replace(members[0], seed=5), members[3]]
    config = TrainingConfig(epochs=3, batch_size=4, learning_rate=1e-3)
    well = train_group(NETWORK, config, [members[i] for i in (0, 1, 3)])
    results = train_group(NETWORK, config, sick)
    assert isinstance(results[2], FloatingPointError) and "in epoch 1" in str(results[2])
    for (_, ours), (_, theirs) in zip([results[i] for i in (0, 1, 3)], well, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a == pytest.approx(b, rel=1e-4)


def test_a_group_without_hope_stops(spoilt):
    seen, hopeless = [], [replace(group()[0], seed=5)] * 2
    results = train_group(NETWORK, TrainingConfig(epochs=3, batch_size=4), hopeless, on_epoch=lambda *a: seen.append(a))
    assert all(isinstance(result, FloatingPointError) for result in results) and seen == []


@pytest.mark.slow
def test_a_resnet_unet_learns_what_can_be_learnt():
    config = TrainingConfig(epochs=5, batch_size=4, learning_rate=0.003)
    _, history = train(RESNET, config, bright_squares(24, 1, 64), bright_squares(4, 2, 64), seed=5)
    assert history[-1]["train_loss"] < 0.35 * history[0]["train_loss"]
    assert history[-1]["validation_loss"] < 0.35 * history[0]["train_loss"]


@pytest.mark.slow
def test_resnet_unets_of_a_group_are_trained_one_after_another(spoilt):
    first, second = ((bright_squares(4, s, 64), bright_squares(2, s + 1, 64)) for s in (1, 3))
    members = [Member(*first, 1), Member(*first, 5), Member(*second, 2)]
    config, seen = TrainingConfig(epochs=2, batch_size=2), []
    well, sick, other = train_group(RESNET, config, members, on_epoch=lambda place, epoch: seen.append((place, epoch)))
    assert isinstance(sick, FloatingPointError) and "in epoch 1" in str(sick)
    for place, (model, history) in ((0, well), (2, other)):
        assert history == [epoch for at, epoch in seen if at == place]
        member = members[place]
        alone, expected = train(RESNET, config, member.train_images, member.validation_images, seed=member.seed)
        assert history == expected and not model.training
        assert torch.equal(weights(model), weights(alone))
