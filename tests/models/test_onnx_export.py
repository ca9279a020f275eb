"""Models for other programs, run again by onnxruntime and by bioimageio.core."""

import json
import sys
import zipfile

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from passband.base.errors import BadInputError
from passband.models import onnx_export, onnx_worker
from passband.models.external import import_onnx
from passband.models.network import Network
from passband.models.store import read_model
from support import networks
from support.networks import PIXEL, SIDE, image


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return networks.tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def content(model):
    return onnx_export.onnx_bytes(Network(model).get_submodule("_module"), model.card)


@pytest.fixture
def exported(monkeypatch, content):
    """The exporter takes ten seconds; once is enough."""
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda network, card: content)


@pytest.mark.parametrize("shape", [(1, 1, SIDE, SIDE), (3, 1, 4, 20)])
def test_onnx_gives_the_same_logits_for_any_number_of_images_of_any_shape(model, content, shape):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    [found] = session.run(["logits"], {"image": image(*shape).numpy()})
    wanted = Network(model)(image(*shape)).numpy()
    assert found.shape == shape and wanted.std() > 0.01
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_onnx_says_what_its_user_must_know_and_nothing_of_this_computer(model, content):
    made = onnx.load_from_string(content)
    said = {entry.key: entry.value for entry in made.metadata_props}
    assert (said["name"], said["licence"], float(said["pixel_size_angstrom"])) == ("tiny", "GPL-3.0-or-later", PIXEL)
    assert (int(said["divisor"]), float(said["threshold"])) == (4, 0.5)
    assert json.loads(said["specimens"])["elements"] == ["Au"]
    assert [entry.version for entry in made.opset_import if entry.domain == ""] == [onnx_worker.OPSET]
    assert [d.dim_param for d in made.graph.input[0].type.tensor_type.shape.dim][2:] == ["4*height", "4*width"]
    assert b".py" not in content and sys.prefix.encode() not in content


def test_export_says_how_far_the_result_is_from_the_network(exported, model, tmp_path):
    facts = onnx_export.export(model, tmp_path / "a.onnx")
    assert 0 <= facts["largest_difference"] <= 1e-4 and facts["compared_images"] == 6
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]
    with pytest.raises(BadInputError, match="exists; choose another name"):
        onnx_export.export(model, tmp_path / "a.onnx")


def test_a_result_that_differs_is_not_left_behind(monkeypatch, model, content, tmp_path):
    made = onnx.load_from_string(content)
    weights = next(t for t in made.graph.initializer if len(t.dims) == 4)
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 1.01, weights.name))
    monkeypatch.setattr(onnx_export, "onnx_bytes", lambda network, card: made.SerializeToString())
    with pytest.raises(BadInputError, match=r"its logits would differ .* more than 0.0001; it is not written"):
        onnx_export.export(model, tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_is_one_line(monkeypatch, model, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(
        BadInputError, match=r"needs onnxscript, which is not installed; pip install 'passband\[exchange\]'"
    ):
        onnx_export.export(model, tmp_path / "a.onnx")


def test_there_and_back_again(monkeypatch, model, content, tmp_path):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))
    (tmp_path / "a.onnx").write_bytes(content)
    (tmp_path / "a.yaml").write_text(networks.DESCRIPTION)
    back = import_onnx(tmp_path / "a.onnx", tmp_path / "a.yaml")
    assert (back.card.divisor, back.card.runs, back.card.external.channel) == (4, "onnx", 0)
    given = image(3, 1, SIDE, SIDE)
    torch.testing.assert_close(Network(back)(given), Network(model)(given), atol=1e-4, rtol=0)
    back.weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(BadInputError, match="network.onnx: is not the file that its card describes"):
        read_model(back.folder)
    with pytest.raises(BadInputError, match="network.onnx: is not the file that its card describes"):
        Network(back)
    with pytest.raises(BadInputError, match="share that file, or the whole model"):
        onnx_export.export(back, tmp_path / "b.onnx")


@pytest.mark.slow
def test_bioimageio_package_is_valid_and_gives_the_same_probabilities(exported, model, tmp_path):
    out = tmp_path / "a.bioimageio.zip"
    facts = onnx_export.export(model, out)
    assert facts["largest_difference_of_package"] <= 1e-4
    with onnx_export.quiet(), zipfile.ZipFile(out) as package:
        from bioimageio.core import predict
        from bioimageio.core import test_model as run_its_tests
        from bioimageio.spec import load_model_description

        described = load_model_description(package)
        summary = run_its_tests(described, absolute_tolerance=1e-4, relative_tolerance=0)
        shown = 50 + 7 * image(2, 1, SIDE, 2 * SIDE)
        [probability] = predict(model=described, inputs={"image": shown.numpy()}).members.values()
    assert summary.status == "passed", summary
    assert described.license == "GPL-3.0-or-later" and described.inputs[0].axes[2].scale == PIXEL
    centred = (shown - shown.mean((2, 3), keepdim=True)) / shown.std((2, 3), keepdim=True, correction=0)
    np.testing.assert_allclose(probability.data.values, Network(model)(centred).sigmoid().numpy(), atol=1e-4)


@pytest.mark.slow
def test_a_licence_without_a_name_goes_into_a_file(exported, tmp_path):
    model = networks.tiny_model(tmp_path, name="v1.2", licence="Ask me first.")
    onnx_export.export(model, tmp_path / "a.bioimageio.zip")
    with onnx_export.quiet(), zipfile.ZipFile(tmp_path / "a.bioimageio.zip") as package:
        from bioimageio.spec import load_model_description

        described = load_model_description(package)
    assert str(described.license.source).endswith("LICENCE.txt") and described.name == "v1_2 (passband)"
