"""Training steps: a graph takes the same steps, and where bfloat16 is used."""

import pytest
import torch

from passband.learning import NetworkConfig, TrainingConfig, build, steps
from passband.learning.fleets import fleet
from passband.learning.segmentation import SEGMENTATION

NETWORK, CPU = NetworkConfig(widths=(8, 16), stem=1), torch.device("cpu")


def batches(sizes):
    generator = torch.Generator().manual_seed(0)
    for size in sizes:
        images = torch.randn(size, 2, 16, 16, generator=generator)
        yield images, (images > 0.5).float()


def training(sizes, **more):
    model = fleet(NETWORK, [build(NETWORK, seed=i).state_dict() for i in range(2)]).train()
    return steps.Steps(model, TrainingConfig(learning_rate=0.02), len(sizes), SEGMENTATION), model


class Replayed:
    """A graph on a CPU: capturing takes no step, and a replay reads nothing but its own copies."""

    captured = ()

    def __init__(self, step, images, masks):
        Replayed.captured += (tuple(images.shape),)
        self._step, self._images, self._masks = step, images.clone(), masks.clone()

    def __call__(self, images, masks):
        self._images.copy_(images)
        self._masks.copy_(masks)
        return self._step(self._images, self._masks)


@pytest.mark.parametrize("epoch", [[4, 4, 3], [4, 4, 4, 4, 4, 1], [3]])
def test_a_graph_takes_every_step_of_the_first_shape(monkeypatch, epoch):
    """Also where the first step that could be captured has the shape of an epoch's last."""
    sizes = 3 * epoch
    plain, model = training(sizes)
    expected = [plain(*batch) for batch in batches(sizes)]
    monkeypatch.setattr(steps, "_Graph", Replayed)
    monkeypatch.setattr(steps, "aside", lambda work: work())
    monkeypatch.setattr(Replayed, "captured", ())
    graph, same = training(sizes)
    graph._captures = True
    for batch, losses in zip(batches(sizes), expected, strict=True):
        assert torch.equal(graph(*batch), losses)
    assert Replayed.captured == (((epoch[0], 2, 16, 16),) if len(sizes) > 3 else ())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_steps_that_cannot_be_captured_are_taken_one_by_one(monkeypatch):
    class Refused:
        def __init__(self, *given):
            raise RuntimeError("not permitted when stream is capturing")

    sizes = 6 * [4]
    plain, _ = training(sizes)
    expected = [plain(*batch) for batch in batches(sizes)]
    monkeypatch.setattr(steps, "_Graph", Refused)
    monkeypatch.setattr(steps, "aside", lambda work: work())
    slow, _ = training(sizes)
    slow._captures = True
    with pytest.warns(UserWarning, match="not replayed as a graph, which makes them slower: not permitted"):
        assert all(torch.equal(slow(*b), e) for b, e in zip(batches(sizes), expected, strict=True))


def test_bfloat16_is_for_gpus_and_for_processors_with_tiles(monkeypatch):
    """Losses differ from those in single precision, by less than a hundredth."""
    model, [(images, masks)] = build(NETWORK).eval(), batches([8])
    single = steps.losses(model, images[:, :1], masks[:, :1], SEGMENTATION)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert steps.reduced_precision(CPU) and steps.reduced_precision(torch.device("cuda"))
    half = steps.losses(model, images[:, :1], masks[:, :1], SEGMENTATION)
    assert half.dtype == torch.float32 and not torch.equal(half, single)
    assert half.flatten().tolist() == pytest.approx(single.flatten().tolist(), rel=0.01)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not steps.reduced_precision(CPU)
    assert torch.equal(steps.losses(model, images[:, :1], masks[:, :1], SEGMENTATION), single)


def test_the_fastest_arrangement_is_measured_where_it_matters(monkeypatch):
    training = TrainingConfig(batch_size=2)
    steps.fastest.cache_clear()
    assert steps.fastest(NETWORK, training, 4, 16, CPU) == "grouped"
    assert steps.fastest(NetworkConfig(family="resnet_unet"), training, 4, 64, torch.device("cuda")) == "separate"
    slow = {"grouped": 2.0, "stacked": 1.0, "separate": float("inf")}
    asked = []
    monkeypatch.setattr(steps, "seconds_per_step", lambda *given: asked.append(given) or slow[given[-1]])
    found = [steps.fastest(NETWORK, training, 4, 16, torch.device("cuda")) for _ in range(2)]
    assert found == ["stacked"] * 2 and len(asked) == 3
    steps.fastest.cache_clear()


@pytest.mark.parametrize("arrangement", ["grouped", "stacked", "separate"])
def test_a_step_of_every_arrangement_can_be_timed(arrangement):
    assert 0 < steps.seconds_per_step(NETWORK, TrainingConfig(batch_size=2), 3, 16, CPU, arrangement) < 10


def test_an_arrangement_that_fails_is_never_the_fastest(monkeypatch):
    def out_of_memory(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(steps, "fleet", out_of_memory)
    assert steps.seconds_per_step(NETWORK, TrainingConfig(), 3, 16, CPU, "grouped") == float("inf")
