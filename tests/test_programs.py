"""The scripts on the page about other programs do what it says, with stand-ins for the programs."""

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import passband as pb

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "programs.md").read_text(encoding="utf-8")


def script(heading, tmp_path):
    """Write the Python block under a heading to a file."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    [code] = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    path = tmp_path / "script.py"
    path.write_text(code, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def shot():
    recipe = pb.load_recipe("gold_on_carbon").model_copy(update={"field_angstrom": 102.4})
    return pb.simulate(recipe, "titan_corrected_300kv", n=1)[0]


@pytest.fixture(scope="module")
def expected(shot):
    return pb.segment("au-300kv", shot).instances


@pytest.mark.parametrize(("unit", "factor"), [("nm", 0.1), ("Å", 1.0)])
def test_digitalmicrograph(tmp_path, monkeypatch, capsys, shot, expected, unit, factor):
    shown = {}

    class Image:
        def __init__(self, array):
            self.array, self.calibration = array, {}

        def GetNumArray(self):
            return self.array

        def GetDimensionScale(self, axis):
            return shot.pixel_size_angstrom * factor

        def GetDimensionUnitString(self, axis):
            return unit

        def SetName(self, name):
            self.name = name

        def SetDimensionCalibration(self, axis, origin, scale, unit, form):
            self.calibration[axis] = (origin, scale, unit)

        def ShowImage(self):
            shown["image"] = self

    stand_in = ModuleType("DigitalMicrograph")
    stand_in.GetFrontImage, stand_in.CreateImage = lambda: Image(shot.intensity), Image
    monkeypatch.setitem(sys.modules, "DigitalMicrograph", stand_in)
    runpy.run_path(script("DigitalMicrograph", tmp_path))
    np.testing.assert_array_equal(shown["image"].array, expected)
    assert shown["image"].calibration == dict.fromkeys((0, 1), (0.0, shot.pixel_size_angstrom * factor, unit))
    assert "particle" in shown["image"].name
    assert capsys.readouterr().out.startswith(("yes", "no", "cannot say"))


def test_nion_swift(tmp_path, capsys, shot, expected):
    calibrations = [SimpleNamespace(scale=shot.pixel_size_angstrom / 10, units="nm")] * 2
    item = SimpleNamespace(xdata=SimpleNamespace(data=shot.intensity, dimensional_calibrations=calibrations))
    displayed = []
    window = SimpleNamespace(target_data_item=item, display_data_item=displayed.append)
    api = SimpleNamespace(
        application=SimpleNamespace(document_windows=[window]),
        create_data_and_metadata=lambda data, dimensional_calibrations: (data, dimensional_calibrations),
        library=SimpleNamespace(create_data_item_from_data_and_metadata=lambda xdata, title: (*xdata, title)),
    )
    main = runpy.run_path(script("Nion Swift", tmp_path))["script_main"]
    main(SimpleNamespace(get_api=lambda version: api))
    [(data, kept, title)] = displayed
    np.testing.assert_array_equal(data, expected)
    assert kept is calibrations and "particle" in title
    assert capsys.readouterr().out.startswith(("yes", "no", "cannot say"))


def test_hyperspy(tmp_path, monkeypatch, capsys, shot):
    hyperspy = pytest.importorskip("hyperspy.api", reason="HyperSpy is not installed")
    image = hyperspy.signals.Signal2D(shot.intensity)
    for axis, offset in zip(image.axes_manager.signal_axes, (3.0, -2.0), strict=True):
        axis.units, axis.scale, axis.offset = "nm", shot.pixel_size_angstrom / 10, offset
    image.metadata.set_item("Acquisition_instrument.TEM.beam_energy", 300.0)
    monkeypatch.setattr(hyperspy, "load", lambda name: image)
    result = runpy.run_path(script("HyperSpy", tmp_path))["signal"]
    assert [a.offset for a in result.axes_manager.signal_axes] == [3.0, -2.0]
    assert result.metadata.Acquisition_instrument.TEM.beam_energy == 300.0
    np.testing.assert_array_equal(result.data, pb.segment("au-300kv", shot).probability)
    assert result.metadata.Signal.quantity == "probability"
    with pytest.raises(pb.BadInputError, match="give the signal that was segmented"):
        pb.to_signal(pb.segment("au-300kv", shot), like=image.isig[:50, :])


def test_the_container_installs_what_is_there():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    ignored = set((ROOT / ".dockerignore").read_text(encoding="utf-8").split())
    needed = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "src", "studies"}
    assert not needed & ignored and all((ROOT / name).exists() for name in needed)
    assert any("-c /source/constraints.txt" in line for line in lines)
