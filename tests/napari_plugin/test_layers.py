"""Reading, particles and labels, as napari exchanges them with plugins; napari itself is not needed."""

from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import yaml

from passband.base.errors import BadInputError
from passband.micrographs import formats
from passband.micrographs.labels import read_labelled
from passband.micrographs.write_tiff import write_tiff
from passband.napari_plugin import layers

MANIFEST = yaml.safe_load((Path(layers.__file__).parent / "napari.yaml").read_text(encoding="utf-8"))["contributions"]
RNG = np.random.default_rng(5)


class Unit:
    """What of a unit of pint is used."""

    def __init__(self, name):
        self.name = name

    def is_compatible_with(self, other):
        return (self.name == "pixel") == (other == "pixel") and self.name != "second"

    def __rmul__(self, value):
        return SimpleNamespace(to=lambda unit: SimpleNamespace(magnitude=value * {"nm": 10, "angstrom": 1}[self.name]))


def image_layer(data, scale=0.04, unit="nm", rgb=False, metadata=None):
    n = data.ndim
    units = [Unit("pixel")] * (n - 2) + [Unit(unit)] * 2
    return SimpleNamespace(
        data=data, scale=np.r_[np.ones(n - 2), scale, scale], units=units, rgb=rgb, metadata=metadata or {}, name="shot"
    )


def test_the_manifest_names_what_exists_and_what_can_be_read():
    for command in MANIFEST["commands"]:
        module, _, name = command["python_name"].partition(":")
        # The panel needs napari; its own tests import it.
        assert module.endswith("panel") or callable(getattr(import_module(module), name))
    patterns = MANIFEST["readers"][0]["filename_patterns"]
    assert all(any(fnmatch(f"a{ending}", p) for ending in formats.READERS) for p in patterns)
    assert set(formats.READERS) - {p[1:] for p in patterns} == {".png"}, "a PNG has no scale"


def test_a_file_is_a_layer_with_its_scale(tmp_path):
    image = RNG.poisson(50, (64, 80)).astype(np.float32)
    write_tiff(tmp_path / "shot.tif", image, 0.4)
    [(pixels, attributes, kind)] = layers.reader_of("shot.tif")([str(tmp_path / "shot.tif")])
    assert kind == "image" and attributes["name"] == "shot.tif"
    np.testing.assert_array_equal(pixels, image)
    np.testing.assert_allclose(attributes["scale"], (0.04, 0.04), rtol=1e-6)
    assert attributes["units"] == ("nm", "nm")
    assert attributes["metadata"]["passband"]["notes"]


def test_a_stack_is_one_layer(tmp_path):
    stack = RNG.poisson(50, (3, 64, 64)).astype(np.float32)
    tifffile.imwrite(
        tmp_path / "s.tif", stack, imagej=True, resolution=(25, 25), metadata={"unit": "nm", "axes": "ZYX"}
    )
    [(pixels, attributes, _)] = layers.read(tmp_path / "s.tif")
    assert pixels.shape == (3, 64, 64)
    np.testing.assert_allclose(attributes["scale"], (1, 0.04, 0.04), rtol=1e-6)


@pytest.mark.parametrize(("scale", "unit", "size"), [(0.04, "nm", 0.4), (0.4, "angstrom", 0.4), (1.0, "pixel", None)])
def test_pixel_size_from_scale_and_units(scale, unit, size):
    assert layers.pixel_size((scale, scale), [Unit(unit)] * 2) == (None if size is None else pytest.approx(size))


def test_the_image_under_the_sliders_is_taken():
    stack = RNG.normal(size=(4, 64, 64))
    layer = image_layer(stack, metadata={"passband": {"energy_ev": 3e5, "dose_per_angstrom2": 300.0}})
    found = layers.micrograph_of(layer, [2, 0, 0], None)
    np.testing.assert_allclose(found.intensity, stack[2].astype(np.float32))
    assert (found.pixel_size_angstrom, found.energy_ev, found.dose_per_angstrom2) == (pytest.approx(0.4), 3e5, 300.0)
    assert found.name == "shot"
    assert layers.micrograph_of(layer, [0, 0, 0], 0.5).pixel_size_angstrom == 0.5


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (image_layer(RNG.normal(size=(64, 64)), 1.0, "pixel"), "shot: has no scale; give the pixel size"),
        (image_layer(RNG.normal(size=(64, 64)), unit="second"), "which is no length"),
        (image_layer(RNG.normal(size=(64, 64, 3)), rgb=True), "picture in colour"),
        (image_layer(RNG.normal(size=(8, 8))), "64 to 16384 pixels"),
    ],
)
def test_layers_that_are_no_micrographs(layer, words):
    with pytest.raises(BadInputError, match=words) as info:
        layers.micrograph_of(layer, [0, 0], None)
    assert "\n" not in str(info.value)


def test_pixels_that_are_not_square():
    with pytest.raises(BadInputError, match="not square"):
        layers.pixel_size((0.04, 0.05), [Unit("nm")] * 2)


def test_labels_are_saved_as_tuning_reads_them(tmp_path):
    labels = np.zeros((64, 72), np.int64)
    labels[4:20, 6:30], labels[30:50, 40:70] = 1, 7
    attributes = {"name": "mine", "scale": (0.04, 0.04), "units": [Unit("nm")] * 2}
    (tmp_path / "masks").mkdir()
    path = str(tmp_path / "masks" / "shot.tif")
    assert layers.write_labels(path, labels, attributes) == [path]
    (tmp_path / "images").mkdir()
    write_tiff(tmp_path / "images" / "shot.tif", RNG.poisson(50, (64, 72)).astype(np.float32), 0.4)
    labelled = read_labelled(tmp_path / "images", tmp_path / "masks")
    [truth] = [item.truth for item in labelled]
    np.testing.assert_array_equal(truth > 0, labels > 0)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].tags["XResolution"].value[0] / file.pages[0].tags["XResolution"].value[1] == pytest.approx(
            25
        )


@pytest.mark.parametrize(
    ("labels", "unit", "words"),
    [
        (np.zeros((2, 64, 64), int), "nm", "not that of one image"),
        (np.full((64, 64), 70000), "nm", "beyond 65535"),
        (np.ones((64, 64), int), "pixel", "no scale"),
    ],
)
def test_labels_that_cannot_be_saved(tmp_path, labels, unit, words):
    with pytest.raises(BadInputError, match=words):
        layers.write_labels(
            str(tmp_path / "a.tif"), labels, {"name": "mine", "scale": (0.04, 0.04), "units": [Unit(unit)] * 2}
        )
    assert not list(tmp_path.iterdir())
