"""The panel in napari, without a window; CONTRIBUTING.md says how to install napari for it."""

import os
import time
import warnings

import numpy as np
import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("napari", reason="napari is not installed")
    from napari.components import ViewerModel
    from qtpy.QtWidgets import QApplication

    from passband.napari_plugin.panel import Panel

import passband as pb
from passband.napari_plugin import layers

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def qt():
    return QApplication.instance() or QApplication([])


@pytest.fixture(scope="module")
def shot():
    recipe = pb.load_recipe("gold_on_carbon").model_copy(update={"field_angstrom": 102.4})
    return pb.simulate(recipe, "titan_corrected_300kv", n=1)[0]


@pytest.fixture
def viewer(shot):
    model = ViewerModel()
    size = shot.pixel_size_angstrom / 10
    known = {"energy_ev": shot.energy_ev, "dose_per_angstrom2": shot.dose_per_angstrom2}
    model.add_image(shot.intensity, name="shot", scale=(size, size), units=("nm", "nm"), metadata={"passband": known})
    return model


def press(panel, button, qt):
    """Press a button and let the work end."""
    button.changed.emit(True)
    end = time.monotonic() + 120
    while not button.enabled and time.monotonic() < end:
        qt.processEvents()
        time.sleep(0.01)
    assert button.enabled
    qt.processEvents()
    return panel.answer.value


def test_particles_become_a_layer_of_labels_in_their_place(viewer, shot, qt):
    panel = Panel(viewer)
    text = press(panel, panel.segment, qt)
    expected = pb.segment("au-300kv", shot)
    panel.model.value = "au-300kv"
    assert "particle" in text
    [labels] = [layer for layer in viewer.layers if layer.name == "shot: particles"]
    np.testing.assert_array_equal(labels.data, expected.instances)
    np.testing.assert_allclose(labels.scale, viewer.layers["shot"].scale)
    assert list(labels.features["equivalent_diameter_angstrom"]) == list(
        expected.particles["equivalent_diameter_angstrom"]
    )
    assert panel.image.value is viewer.layers["shot"]


def test_verdict_and_optics_are_those_of_the_library(viewer, shot, qt):
    panel = Panel(viewer)
    panel.model.value = "au-300kv"
    assert pb.check("au-300kv", image=shot).answer in press(panel, panel.check, qt)
    assert "defocus" in press(panel, panel.estimate, qt)


def test_an_image_without_scale_asks_for_it_and_takes_it(shot, qt):
    viewer = ViewerModel()
    panel = Panel(viewer)
    panel.segment.changed.emit(True)
    assert panel.answer.value == "open a micrograph first"
    viewer.add_image(shot.intensity, name="plain")
    assert panel.image.value is viewer.layers["plain"]
    panel.segment.changed.emit(True)
    assert panel.answer.value == "plain: has no scale; give the pixel size in Å"
    panel.pixel_size.value = shot.pixel_size_angstrom
    press(panel, panel.segment, qt)
    assert "plain: particles" in viewer.layers


def test_the_image_under_the_slider_is_segmented(viewer, shot, qt):
    stack = np.stack([shot.intensity[::-1], shot.intensity])
    size = shot.pixel_size_angstrom / 10
    viewer.add_image(stack, name="stack", scale=(1, size, size), units=("pixel", "nm", "nm"))
    viewer.dims.set_point(0, 1)
    panel = Panel(viewer)
    panel.image.value, panel.model.value = viewer.layers["stack"], "au-300kv"
    press(panel, panel.segment, qt)
    np.testing.assert_array_equal(viewer.layers["stack: particles"].data, pb.segment("au-300kv", shot).instances)


def test_napari_reads_with_the_manifest(tmp_path, shot):
    from npe2 import PluginManager, PluginManifest

    manifest = PluginManifest.from_file(layers.__file__.replace("layers.py", "napari.yaml"))
    manager = PluginManager()
    manager.register(manifest)
    assert [r.command for r in manager.iter_compatible_readers(["a.dm4"])] == ["passband.read"]
