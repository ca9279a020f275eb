import pytest
import torch
from pydantic import ValidationError

from passband.learning import NetworkConfig, Predictors, UNet, build, segmentation_loss
from passband.simulation.symmetry import ORIENTATIONS, matrix, turn


@pytest.mark.parametrize(("widths", "stem"), [((8, 16, 32, 64), 2), ((4, 8), 1), ((4, 8, 16), 4)])
def test_shapes(widths, stem):
    config = NetworkConfig(widths=widths, stem=stem)
    n = 2 * config.divisor
    assert UNet(config)(torch.zeros(2, 1, n, n)).shape == (2, 1, n, n)


def test_size_of_the_default():
    assert sum(p.numel() for p in UNet(NetworkConfig()).parameters()) == 89_108


def test_every_input_pixel_within_reach_matters():
    model = UNet(NetworkConfig(widths=(4, 8, 8), stem=2)).eval()
    image = torch.randn(1, 1, 32, 32, requires_grad=True)
    model(image)[0, 0, 16, 16].backward()
    assert (image.grad[0, 0, 8:24, 8:24] != 0).float().mean() > 0.9


def test_too_few_levels():
    with pytest.raises(ValidationError, match="at least 2"):
        NetworkConfig(widths=(8,))


def test_loss_closed_form():
    logits = torch.tensor([0.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    masks = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    # p = ½: entropy ln 2; Dice (2·1 + 1) / (2 + 2 + 1).
    assert segmentation_loss(logits, masks).item() == pytest.approx(0.693147 + 1 - 3 / 5, abs=1e-6)
    sure = torch.where(masks > 0, 50.0, -50.0)
    assert segmentation_loss(sure, masks).item() == pytest.approx(0, abs=1e-6)
    assert segmentation_loss(-sure, masks).item() == pytest.approx(50 + 1 - 1 / 5, abs=1e-4)
    assert segmentation_loss(torch.full((1, 1, 2, 2), -50.0), torch.zeros(1, 1, 2, 2)).item() == pytest.approx(
        0, abs=1e-6
    )


def test_eight_different_turns_that_matrix_describes():
    image = torch.arange(25.0).reshape(5, 5)
    seen = {tuple(turn(image, o).flatten().tolist()) for o in range(ORIENTATIONS)}
    assert len(seen) == 8
    # f(r) with r from the centre: turn(f)(r) = f(R⁻¹ r).
    r = torch.stack(torch.meshgrid(torch.arange(5.0) - 2, torch.arange(5.0) - 2, indexing="ij"), -1)
    for o in range(ORIENTATIONS):
        source = (r @ torch.linalg.inv(matrix(o)).T + 2).long()
        assert torch.equal(turn(image, o), image[source[..., 0], source[..., 1]])


def test_networks_that_run_as_one_give_the_logits_of_each():
    config = NetworkConfig(widths=(4, 8, 16))
    models = [build(config, seed=i).eval() for i in range(3)]
    for model in models:
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 2)
    images = torch.randn(5, 1, 32, 32)
    alone, joint = (
        list(Predictors(config, models, torch.device("cpu"), joint=j).logits(images)) for j in (False, True)
    )
    assert len(alone) == 3
    [together] = joint
    assert torch.allclose(together, torch.cat(alone, 1), atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)
