"""Networks from elsewhere: what is run, what is refused, and that nothing of a refused file is."""

import io
import json
import pickle
import re
import time
import zipfile

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from safetensors.torch import load_file
from torch.nn import functional

from passband.base.errors import BadInputError
from passband.cli.model_verbs import model_import
from passband.learning import NetworkConfig, build
from passband.micrographs.sandbox.parsing import Limits
from passband.models import external, onnx_export, store
from passband.models.card import pixel_band
from passband.models.external import import_onnx, import_weights
from passband.models.network import Network
from passband.models.onnx_worker import EXPORT
from passband.models.store import read_model
from support import networks
from support.networks import SIDE, convolution, image, kernel, write_onnx


@pytest.fixture(autouse=True)
def _own_models(monkeypatch, tmp_path):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))


@pytest.fixture
def said(tmp_path):
    """Write a description, with more lines if need be."""

    def write(*more, name="theirs"):
        path = tmp_path / "theirs.yaml"
        text = networks.DESCRIPTION.replace("theirs", name)
        path.write_text(text + "".join(f"{line}\n" for line in more))
        return path

    return write


def refused(match, function, *arguments):
    with pytest.raises(BadInputError, match=match) as error:
        function(*arguments)
    assert "\n" not in str(error.value)


def convolved(given, channels=1):
    return functional.conv2d(given, torch.from_numpy(kernel(channels)), padding=1)


def test_a_network_is_run_as_it_was_made(said, tmp_path):
    model = import_onnx(convolution(tmp_path / "theirs.onnx"), said())
    card = read_model(model.folder).card
    assert (card.runs, card.divisor, card.q_max_per_angstrom) == ("onnx", 1, 0.5 / networks.PIXEL)
    assert card.made_by["imported_from"] == "theirs.onnx" and model.scores is None
    network = Network(model)
    for given in (image(3, 1, SIDE, SIDE), image(2, 1, 20, 24)):
        torch.testing.assert_close(network(given), convolved(given), atol=1e-4, rtol=0)
    refused("'theirs' is installed already", import_onnx, tmp_path / "theirs.onnx", said())


def test_what_sides_it_takes_is_found_out(said, tmp_path):
    nodes = [
        helper.make_node("SpaceToDepth", ["x"], ["s"], blocksize=4),
        helper.make_node("Relu", ["s"], ["r"]),
        helper.make_node("DepthToSpace", ["r"], ["y"], blocksize=4),
    ]
    model = import_onnx(write_onnx(tmp_path / "a.onnx", nodes), said())
    assert model.card.divisor == 4
    with pytest.raises(BadInputError, match="does not run on an image of 18 × 18 pixels"):
        Network(model)(image(1, 1, 18, 18))


def test_one_that_takes_one_size_only_is_given_images_one_by_one(said, tmp_path):
    model = import_onnx(convolution(tmp_path / "a.onnx", shape=(1, 1, SIDE, SIDE)), said())
    given = image(3, 1, SIDE, SIDE)
    assert model.card.divisor == SIDE and "Takes images of 32 × 32 pixels only" in model.card.limits[0]
    assert import_onnx(convolution(tmp_path / "b.onnx"), said("divisor: 4", name="other")).card.limits == ()
    torch.testing.assert_close(Network(model)(given), convolved(given), atol=1e-4, rtol=0)


def test_probabilities_of_two_channels_become_logits(said, tmp_path):
    last = [helper.make_node("Sigmoid", ["v"], ["y"])]
    path = convolution(tmp_path / "a.onnx", 2, last)
    refused("returns 2 channels; say which is that of the particles", import_onnx, path, said("output: probability"))
    refused("returns 2 channels, which does not fit", import_onnx, path, said("output: probability", "channel: 2"))
    model = import_onnx(path, said("output: probability", "channel: 1"))
    given = image(2, 1, SIDE, SIDE) * 0.3
    torch.testing.assert_close(Network(model)(given), convolved(given, 2)[:, 1:], atol=1e-4, rtol=0)


def test_scores_before_a_softmax_become_logits(said, tmp_path):
    path = convolution(tmp_path / "a.onnx", 3)
    refused("which are no probabilities", import_onnx, path, said("output: probability", "channel: 1"))
    model = import_onnx(path, said("output: softmax", "channel: 0"))
    given = image(2, 1, SIDE, SIDE) * 0.3
    wanted = convolved(given, 3).softmax(1)[:, :1].logit()
    torch.testing.assert_close(Network(model)(given), wanted, atol=1e-4, rtol=0)


def test_images_from_0_to_1(said, tmp_path):
    model = import_onnx(convolution(tmp_path / "a.onnx"), said("normalisation: min_max"))
    given = image(2, 1, SIDE, SIDE)
    low, high = given.amin((2, 3), keepdim=True), given.amax((2, 3), keepdim=True)
    torch.testing.assert_close(Network(model)(given), convolved((given - low) / (high - low)), atol=1e-4, rtol=0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_line_of_the_advice_exports_what_is_taken(said, tmp_path, monkeypatch):
    """Weights in the file, free height and width, for a network that halves the image twice."""
    monkeypatch.chdir(tmp_path)
    net = build(NetworkConfig(widths=(2, 4), stem=2), seed=3)
    with onnx_export.quiet():
        exec(EXPORT, {"torch": torch, "network": net})
    model = import_onnx(tmp_path / "network.onnx", said())
    assert (model.card.divisor, model.card.limits) == (4, ())
    given = image(1, 1, 36, 64)
    torch.testing.assert_close(Network(model)(given), net.eval()(given).detach(), atol=1e-4, rtol=0)
    for path in (tmp_path / "net.pt", tmp_path / "net.pth"):
        path.write_bytes(b"PK")
        with pytest.raises(BadInputError) as error:
            external.import_network(path, said())
        assert EXPORT in str(error.value)


def test_the_help_lists_every_key_of_a_description():
    text = str(model_import.__doc__)
    assert not [key for key in external.Description.model_fields if not re.search(rf"\b{key}\b", text)]


def test_only_networks_of_one_image_are_run(said, tmp_path):
    path = tmp_path / "a.onnx"
    node = helper.make_node
    cases = {
        "uses the operation theirs.Magic": lambda: write_onnx(
            path, [node("Magic", ["x"], ["y"], domain="theirs")], opset=(("", 18), ("theirs", 1))
        ),
        "has 2 inputs; export it with one": lambda: write_onnx(path, [node("Add", ["x", "z"], ["y"])], inputs="xz"),
        "single-precision": lambda: write_onnx(path, [node("Relu", ["x"], ["y"])], kind=onnx.TensorProto.DOUBLE),
        "takes \\? × 3 × \\? × \\?": lambda: write_onnx(path, [node("Relu", ["x"], ["y"])], shape=("b", 3, "h", "w")),
        "returns 1 × 1 × 31 × 31 for 1 × 1 × 32 × 32": lambda: write_onnx(
            path, [node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])]
        ),
        "returns values that are no numbers": lambda: convolution(path, last=[node("Log", ["v"], ["y"])]),
        "returns another result when run again": lambda: convolution(
            path, last=[node("RandomNormalLike", ["v"], ["y"])]
        ),
        "is no ONNX file": lambda: path.write_bytes(b"\x08\x07" + bytes(range(100, 200))),
        "does not run on an image of 32": lambda: convolution(path, shape=(1, 1, 48, 48)),
    }
    for match, make in cases.items():
        make()
        refused(match, import_onnx, path, said())
    assert not (tmp_path / "mine").exists()


def test_weights_in_another_file_are_not_followed(said, tmp_path):
    path = convolution(tmp_path / "whole.onnx")
    made = onnx.load(path)
    onnx.external_data_helper.set_external_data(made.graph.initializer[0], "../../etc/passwd")
    made.graph.initializer[0].ClearField("raw_data")
    path.write_bytes(made.SerializeToString())
    refused("keeps its weights in another file", import_onnx, path, said())


def endless_loop():
    """A loop whose condition stays true."""
    inner = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Relu", ["v"], ["v2"])],
        "forever",
        [
            helper.make_tensor_value_info("i", onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info("c", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c2", onnx.TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", onnx.TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["", "true", "x"], ["y"], body=inner)


def test_loops_are_refused_also_inside(said, tmp_path):
    path, true = tmp_path / "a.onnx", {"true": np.array(True)}
    write_onnx(path, [endless_loop()], tensors=true)
    refused("contains a Loop, which may never end", import_onnx, path, said())
    outputs = [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)]
    branch = helper.make_graph([endless_loop()], "branch", [], outputs)
    write_onnx(path, [helper.make_node("If", ["true"], ["y"], then_branch=branch, else_branch=branch)], tensors=true)
    refused("contains a Loop, which may never end", import_onnx, path, said())


@pytest.mark.slow
def test_what_takes_too_long_is_ended(said, tmp_path):
    """A thousand products of matrices that are made of the image: a quarter of an hour."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0),
        helper.make_node("Expand", ["m", "shape"], ["p0"]),
        *(helper.make_node("MatMul", [f"p{i}", f"p{i}"], [f"p{i + 1}"]) for i in range(1000)),
        helper.make_node("ReduceMean", ["p1000"], ["q"], keepdims=0),
        helper.make_node("Add", ["x", "q"], ["y"]),
    ]
    path = write_onnx(tmp_path / "a.onnx", nodes, tensors={"shape": np.array([3000, 3000])})
    began = time.perf_counter()
    refused("takes more than 2 s for one image", import_onnx, path, said(), Limits(seconds=2))
    assert time.perf_counter() - began < 20


def test_what_takes_too_much_memory_is_ended(said, tmp_path):
    nodes = [
        helper.make_node("Expand", ["x", "shape"], ["e"]),
        helper.make_node("ReduceMax", ["e"], ["y"], keepdims=1, axes=[1]),
    ]
    path = write_onnx(tmp_path / "a.onnx", nodes, tensors={"shape": np.array([1, 50_000_000, 1, 1])}, opset=(("", 17),))
    refused("takes more memory than 4.3 GB for one image of 32 × 32", import_onnx, path, said())


class _Writes:
    """What leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return (open, (str(self.trace), "w"))


@pytest.mark.parametrize("name", ["a.pt", "a.pth", "a.pkl", "a.ckpt", "renamed.onnx"])
@pytest.mark.parametrize("zipped", [True, False])
def test_what_would_have_to_be_unpickled_is_refused_unopened(said, tmp_path, name, zipped):
    trace, path, content = tmp_path / "trace", tmp_path / name, io.BytesIO()
    pickle.dump(_Writes(trace), content)
    if zipped:  # As torch.save and torch.jit.save write it.
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content.getvalue())
            archive.writestr("archive/code/__torch__.py", "print()")
    else:
        path.write_bytes(content.getvalue())
    refused(r"whose reading can run any program.*torch\.onnx\.export", external.import_network, path, said())
    assert not trace.exists()
    pickle.loads(content.getvalue()).close()
    assert trace.exists()


def test_a_changed_file_is_not_run(said, tmp_path):
    model = import_onnx(convolution(tmp_path / "a.onnx"), said())
    content = json.loads((model.folder / "card.json").read_text())
    content["foreign"]["channel"] = 1
    (model.folder / "card.json").write_text(json.dumps(content))
    refused("card.json: has been changed since it was written", Network, model)


def test_a_model_from_elsewhere_is_refused_before_it_is_run(monkeypatch, said, tmp_path):
    """Its card and checksums are right, and its network is not what an import would have let in."""
    path = write_onnx(tmp_path / "a.onnx", [endless_loop()], tensors={"true": np.array(True)})
    made = import_onnx(convolution(tmp_path / "b.onnx"), said())
    model = store.write_model(tmp_path / "theirs", made.card, {store.ONNX: path.read_bytes()})
    refused("contains a Loop", Network, read_model(model.folder))


def exploding():
    """Memory without end, for an image that is all 5."""
    return [
        helper.make_node("ReduceMin", ["x"], ["m"], keepdims=0),
        helper.make_node("Clip", ["m", "four", "five"], ["c"]),
        helper.make_node("Sub", ["c", "four"], ["z"]),
        helper.make_node("Mul", ["z", "many"], ["f"]),
        helper.make_node("Cast", ["f"], ["i"], to=onnx.TensorProto.INT64),
        helper.make_node("Add", ["i", "one"], ["n"]),
        helper.make_node("Concat", ["n", "rest"], ["shape"], axis=0),
        helper.make_node("Expand", ["x", "shape"], ["e"]),
        helper.make_node("ReduceMax", ["e"], ["y"], keepdims=1, axes=[0]),
    ]


def test_memory_is_bounded_whenever_a_network_runs(said, tmp_path):
    """The trial's image is harmless; a later one is not."""
    tensors = {
        "four": np.float32(4),
        "five": np.float32(5),
        "many": np.array([1e8], np.float32),
        "one": np.array([1]),
        "rest": np.array([1, 1, 1]),
    }
    model = import_onnx(write_onnx(tmp_path / "a.onnx", exploding(), tensors=tensors, opset=(("", 17),)), said())
    network = Network(model)
    given = image(1, 1, SIDE, SIDE)
    torch.testing.assert_close(network(given), given)
    refused("takes more memory than 4.3 GB", network, torch.full((1, 1, SIDE, SIDE), 5.0))


def test_weights_of_a_family_of_ours(said, tmp_path):
    ours = networks.tiny_model(tmp_path)
    shape = "network: {widths: [4, 8]}"
    model = import_weights(ours.weights, said(shape))
    given = image(2, 1, SIDE, SIDE)
    torch.testing.assert_close(Network(model)(given), Network(ours)(given))
    assert load_file(model.weights).keys() == load_file(ours.weights).keys() and model.card.divisor == 4
    refused("does not describe the shape of the network", import_weights, ours.weights, said())
    refused(
        "does not hold the weights of that network", import_weights, ours.weights, said("network: {widths: [4, 4096]}")
    )
    refused("does not hold the weights of that network", import_weights, said(shape), said(shape))


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("colour: blue", "theirs.yaml:7: unknown key 'colour'; remove it"),
        ("divisor: 5", "field_pixels 32 is no multiple of divisor 5"),
        ("output: mask", "output"),
        ("pixel_band_angstrom: [2.0, 1.0]", "runs downwards"),
        ("network: {widths: [4, 8]}", "describes weights of passband's families"),
    ],
)
def test_a_description_is_strict(said, tmp_path, line, match):
    refused(match, import_onnx, convolution(tmp_path / "a.onnx"), said(line))


@pytest.mark.parametrize(("pixel", "band"), [(0.04, (0.04, 0.044)), (0.05, (0.05, 0.055)), (0.8, (0.05, 0.88))])
def test_a_model_takes_pixels_that_are_finer_but_hardly_coarser_than_its_own(pixel, band):
    assert pixel_band(pixel) == pytest.approx(band)
