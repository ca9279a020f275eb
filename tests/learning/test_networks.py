"""Networks: shapes, families, ids of their configurations, groups."""

import subprocess
import sys

import pytest
import torch
from pydantic import ValidationError

from passband.base.identity import content_id
from passband.files import yaml_config
from passband.learning import NetworkConfig, Predictors, UNet, build, segmentation_loss
from passband.learning.fleets import ARRANGEMENTS
from passband.simulation.symmetry import ORIENTATIONS, matrix, turn

RESNET = NetworkConfig(family="resnet_unet", backbone="resnet10")


@pytest.mark.parametrize("config", [RESNET, NetworkConfig(family="resnet_unet"), NetworkConfig(widths=(4, 8))])
def test_logits_for_every_pixel(config):
    n = 2 * config.divisor
    assert build(config)(torch.zeros(2, 1, n, n)).shape == (2, 1, n, n)


def test_every_pixel_is_seen_by_a_resnet_unet():
    image = torch.randn(1, 1, 64, 64, requires_grad=True)
    build(RESNET).eval()(image)[0, 0, 32, 32].backward()
    assert (image.grad != 0).float().mean() > 0.9


def test_weights_follow_from_the_seed():
    states = []
    for seed in (1, 1, 2):
        states.append(torch.cat([p.flatten() for p in build(RESNET, seed=seed).parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_only_unets_are_built_in_groups():
    unets = build(NetworkConfig(widths=(4, 8)), 3)
    assert unets(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 8, 8)
    with pytest.raises(ValueError, match="networks of family resnet_unet do not train in groups"):
        build(RESNET, 3)


# In a process of its own, for here other tests may have imported both.
SCRIPT = """
import sys, torch
from passband.learning import NetworkConfig, build
build(NetworkConfig())
assert "monai" not in sys.modules
state = torch.random.get_rng_state()
build(NetworkConfig(family="resnet_unet", backbone="resnet10"))
assert torch.equal(torch.random.get_rng_state(), state)
assert "monai" in sys.modules and "torchvision" not in sys.modules
"""


@pytest.mark.slow
def test_monai_is_imported_when_it_is_needed_without_warnings_or_torchvision():
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_ids_of_networks_made_before_there_were_families_stay():
    content = NetworkConfig().model_dump(mode="json")
    assert content == {"widths": [8, 16, 32, 64], "stem": 2}
    assert content == NetworkConfig(family="unet").model_dump(mode="json")
    assert content_id(content) == "fefccb14370b"
    assert NetworkConfig(**content) == NetworkConfig()


@pytest.mark.parametrize("config", [RESNET, NetworkConfig(family="resnet_unet"), NetworkConfig(widths=(4, 8), stem=1)])
def test_round_trip(tmp_path, config):
    (tmp_path / "network.yaml").write_text(yaml_config.dump(config))
    assert yaml_config.load(NetworkConfig, tmp_path / "network.yaml") == config
    assert NetworkConfig.model_validate_json(config.model_dump_json()) == config


def test_only_what_shapes_a_family_is_written():
    assert RESNET.model_dump(mode="json") == {"family": "resnet_unet", "backbone": "resnet10"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"family": "resnet_unet", "widths": [8, 16]}, "widths cannot shape a network of family resnet_unet, which takes backbone; remove widths or change family"),
        ({"family": "resnet_unet", "widths": [8, 16], "stem": 1}, "widths and stem cannot .*; remove widths and stem or"),
        ({"backbone": "resnet18"}, "backbone cannot shape a network of family unet, which takes widths and stem; remove backbone"),
        ({"family": "resnet_unet", "backbone": "resnet50"}, "'resnet10', 'resnet18' or 'resnet34'"),
        ({"family": "vit"}, "'unet' or 'resnet_unet'"),
    ],
)  # fmt: skip
def test_bad_combinations_are_refused(content, message):
    with pytest.raises(ValidationError, match=message) as caught:
        NetworkConfig(**content)
    assert caught.value.error_count() == 1


def test_divisor():
    assert NetworkConfig(widths=(4, 8, 16), stem=4).divisor == 16
    assert RESNET.divisor == 32


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
    alone, *joint = (
        list(Predictors(config, models, torch.device("cpu"), a).logits(images)) for a in (None, *ARRANGEMENTS)
    )
    assert len(alone) == 3
    for [together] in joint:
        assert torch.allclose(together, torch.cat(alone, 1), atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-2)
