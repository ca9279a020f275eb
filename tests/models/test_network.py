"""A network sees a picture as in training: a picture has x along its columns, an image in training along its rows."""

import numpy as np
import pytest
import torch

import passband as pb
from passband.micrographs.micrograph import Micrograph
from passband.models import onnx_export, onnx_worker
from passband.models.external import import_onnx
from passband.models.network import load_weights
from passband.models.store import load_model
from passband.simulation.imaging import normalize
from support import made
from support.networks import DESCRIPTION, image, write_onnx

SIDE, PIXEL = 64, 0.8


@pytest.fixture
def model(tmp_path):
    return made.bare_model(tmp_path / "made")


@pytest.fixture
def seen():
    """Images [2, x, y] that vary along x, as under an astigmatism."""
    return 100 + 20 * image(2, SIDE, SIDE).cumsum(1)


@pytest.fixture
def trained(model, seen):
    """Probabilities [2, x, y] that the network itself gives such images, which turned ones do not have."""
    network = load_weights(model.weights, model.card.network)
    with torch.no_grad():
        upright, turned = (network(normalize(i)[:, None]).sigmoid()[:, 0] for i in (seen, seen.mT))
    assert (upright - turned.mT).abs().max() > 0.01
    return upright.mT.numpy()


def test_pictures_are_seen_as_in_training(model, seen, trained):
    pictures = seen.mT.numpy()
    found = np.stack([pb.segment(model, Micrograph(p, PIXEL)).probability for p in pictures])
    np.testing.assert_allclose(found, trained, atol=1e-5)
    np.testing.assert_allclose(model.predict(pictures).probability, trained, atol=1e-5)


def test_an_exported_network_takes_pictures(model, seen, trained):
    session = onnx_worker.start(onnx_export.onnx_bytes(model.network.get_submodule("_module"), model.card), 1)
    [logits] = session.run(["logits"], {"image": normalize(seen.mT)[:, None].numpy()})
    np.testing.assert_allclose(1 / (1 + np.exp(-logits[:, 0])), trained, atol=1e-4)


def test_an_external_network_sees_pictures_as_they_are(monkeypatch, tmp_path):
    """Its logit is the step from a pixel to the next one of the row."""
    from onnx import helper

    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))
    step = np.zeros((1, 1, 3, 3), np.float32)
    step[0, 0, 1] = [0, -1, 1]
    node = helper.make_node("Conv", ["x", "k"], ["y"], pads=[1, 1, 1, 1])
    (tmp_path / "theirs.yaml").write_text(DESCRIPTION.replace("field_pixels: 32", f"field_pixels: {SIDE}"))
    import_onnx(write_onnx(tmp_path / "theirs.onnx", [node], tensors={"k": step}), tmp_path / "theirs.yaml")
    picture = np.tile(np.arange(SIDE) % 5, (SIDE, 1)).astype(np.float32)
    found = pb.segment(load_model("theirs"), Micrograph(picture, PIXEL))
    # Down by four after each fifth column.
    inside = found.probability[:, :-1]
    assert (inside > 0.5).tolist() == (np.diff(picture, axis=1) > 0).tolist()
