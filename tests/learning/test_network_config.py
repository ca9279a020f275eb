import pytest
from pydantic import ValidationError

from passband.base.identity import content_id
from passband.files import yaml_config
from passband.learning import NetworkConfig

RESNET = NetworkConfig(family="resnet_unet", backbone="resnet10")


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
