"""The Python side: whatever holds an image gives the same answer."""

import numpy as np
import pytest
import tifffile

import passband
from passband.base.errors import BadInputError
from passband.models import segment as module
from support import made


class Signal:
    """What of a HyperSpy signal is read."""

    def __init__(self, data):
        self.data, self.metadata, self.axes_manager = data, self, self

    def as_dictionary(self):
        rest = {"scale": 0.08, "units": "nm", "offset": 0.0, "navigate": False}
        sizes = zip("yx", self.data.shape, strict=True)
        return {f"axis-{i}": {"name": name, "size": size, **rest} for i, (name, size) in enumerate(sizes)}


class Bright(made.torch.nn.Module):
    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return 8 * (images - 1.0)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Bright)
    return made.bare_model(tmp_path / "made")


@pytest.fixture
def image():
    y, x = np.mgrid[:128, :96] * 0.8
    disc = (x - 40) ** 2 + (y - 50) ** 2 < 15**2
    return (100 + 50 * disc + np.random.default_rng(0).normal(0, 3, disc.shape)).astype(np.float32)


def test_arrays_signals_files_and_micrographs_are_alike(model, image, tmp_path):
    file = tmp_path / "image.tif"
    tifffile.imwrite(file, image, imagej=True, resolution=(12.5, 12.5), metadata={"unit": "nm"})
    [micrograph] = passband.read_micrographs(file)
    found = passband.segment(model, image, pixel_size_angstrom=0.8)
    assert len(found.particles) == 1
    for other in (Signal(image), file, str(file), micrograph):
        np.testing.assert_allclose(passband.segment(model.folder, other).probability, found.probability, atol=1e-4)


def test_a_signal_comes_out_where_hyperspy_is(model, image):
    found = passband.segment(model, image, pixel_size_angstrom=0.8)
    try:
        out = passband.to_signal(found)
    except BadInputError as error:
        assert "pip install hyperspy" in str(error)
    else:
        assert [a.scale for a in out.axes_manager.signal_axes] == [pytest.approx(0.08)] * 2
        np.testing.assert_array_equal(out.data, found.probability)


def test_what_is_not_one_image(model, image):
    with pytest.raises(BadInputError, match="holds 2 images"):
        passband.segment(model, np.stack([image, image]), pixel_size_angstrom=0.8)
    with pytest.raises(BadInputError, match="pixel"):
        passband.segment(model, image)
    with pytest.raises(BadInputError, match="either a condition or an image"):
        passband.check(model)


def test_names_are_there_and_no_others():
    assert set(passband.__all__) <= set(dir(passband))
    for name in passband.__all__:
        assert callable(getattr(passband, name))
        assert getattr(passband, name).__doc__
    with pytest.raises(AttributeError, match="nothing"):
        _ = passband.nothing
