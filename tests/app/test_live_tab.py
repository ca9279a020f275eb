"""The Live tab without a browser: images that arrive are shown, a second watch and bad fields are refused."""

import numpy as np
import pytest
import tifffile

import passband as pb
from passband.app.live_tab import LiveTab
from passband.app.model_choice import ModelChoice
from passband.app.scene import subject_of
from passband.models.store import load_model
from support.pages import in_a_document, until

# Names that Panel 1.5 needs and Panel 2 will not have.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    return subject_of(load_model("au-300kv"), "", tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def shot():
    recipe = pb.load_recipe("gold_on_carbon").model_copy(update={"field_angstrom": 102.4})
    return pb.simulate(recipe, "titan_corrected_300kv", n=1)[0]


def write(path, shot):
    scale = {"resolution": (10 / shot.pixel_size_angstrom,) * 2, "metadata": {"unit": "nm", "axes": "YX"}}
    tifffile.imwrite(path, shot.intensity, imagej=True, **scale)


def test_images_are_shown_as_they_arrive(tmp_path, subject, shot):
    watched, out = tmp_path / "session", tmp_path / "results"
    watched.mkdir()
    write(watched / "first.tif", shot)

    async def action():
        tab = LiveTab(ModelChoice(subject))
        tab.layout()
        tab._folder.value, tab._out.value, tab._energy.value = str(watched), str(out), "300"
        tab._launch()
        await until(lambda: "first.tif" in tab._shown.object)
        assert tab._stop.visible and not tab._start.visible
        assert tab._shown.object.count("<figure class=") == 1 and "href" not in tab._shown.object
        write(watched / "second.tif", shot.__class__(np.roll(shot.intensity, 9, 0), shot.pixel_size_angstrom))
        await until(lambda: "second.tif" in tab._message.object)
        assert tab._shown.object.count("<figure class=") == 2
        # Another page that writes the same results.
        other = LiveTab(ModelChoice(subject))
        other._folder.value, other._out.value = str(watched), str(out)
        other._launch()
        await until(lambda: "another run or watch writes its results here" in other._message.object)
        assert "refusal" in other._message.object and other._start.visible
        tab._end()
        await until(lambda: tab._start.visible)
        assert "ended" in tab._message.object and str(out) in tab._message.object
        # A second start goes on where this ended, and loses nothing if it ends at once.
        tab._launch()
        await until(lambda: tab._stop.visible and tab._watch is not None)
        tab._end()
        await until(lambda: tab._start.visible)

    in_a_document(action)
    assert (out / "summary.csv").read_text().count("\n") == 3


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "name the folder to watch"),
        ({"_folder": "/no/such/place"}, "does not exist"),
        ({"_folder": "{here}", "_out": " "}, "“folder of the results” is empty"),
        ({"_folder": "{here}", "_out": "{here}"}, "is the folder that is watched"),
        ({"_folder": "{here}", "_energy": "three"}, "is not a number"),
        ({"_folder": "{here}", "_pixel": "-1"}, "“pixel size” -1: has to be a positive number"),
    ],
)
def test_fields_that_cannot_be(tmp_path, subject, fields, words):
    async def action():
        tab = LiveTab(ModelChoice(subject))
        for name, value in fields.items():
            getattr(tab, name).value = value.format(here=tmp_path)
        tab._launch()
        await until(lambda: "refusal" in tab._message.object)
        assert words in tab._message.object
        await until(lambda: tab._start.visible)

    in_a_document(action)
    assert not list(tmp_path.iterdir())
