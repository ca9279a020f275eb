"""The tabs without a browser: what is shown after a slider moves, a file arrives, or a field is wrong."""

import asyncio
import gc
import threading

import numpy as np
import pytest
import tifffile

from passband.app import sliders
from passband.app.micrograph_tab import MicrographTab
from passband.app.optics_tab import OpticsTab
from passband.app.scene import subject_of
from passband.app.stores import Stores
from passband.app.study_tab import StudyTab
from passband.base.errors import BadInputError
from passband.models.card import Specimens
from passband.models.store import load_model
from passband.verdicts.calibration import with_scores
from support import made
from support.pages import in_a_document, until
from support.study_tables import study

# Names that Panel 1.5 needs and Panel 2 will not have.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

RECIPE = {
    "field_angstrom": 51.2,
    "particles": [{"crystal": "Au", "count": [3, 3], "diameter_angstrom": [9.0, 12.0]}],
    "substrate": {"material": "carbon", "thickness_angstrom": 10.0},
}


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tabs")
    known = Specimens(
        elements=("Au",), support="carbon", thickness_angstrom=(9, 30), diameter_angstrom=(9, 28), recipe=RECIPE
    )
    bare = made.bare_model(folder / "made", specimens=known)
    conditions = [("trained", c) for c in bare.card.conditions] + [("calibration", c) for c in made.draw(90, 8)]
    model = load_model(with_scores(bare, made.scores(bare, conditions)).folder)
    return subject_of(model, "", folder / "cache")


def test_a_model_for_stem_is_shown_no_wave(subject, tmp_path):
    """The sample is imaged in HRTEM, which the model was not made for; the tab says so."""
    model = made.bare_model(tmp_path / "stem", specimens=subject.model.card.specimens, modality="stem")
    other = subject_of(model, "", tmp_path / "cache")

    async def action():
        tab = OpticsTab(other)
        tab.layout()
        await until(lambda: "is a model for STEM images" in tab._verdict.object)
        assert "Dice" not in tab._verdict.object and not tab._sources["prediction"].data["xs"]
        assert tab._layers.value == ["truth"]

    in_a_document(action)


def test_a_slider_changes_picture_verdict_and_advice(subject):
    async def action():
        tab = OpticsTab(subject)
        tab.layout()
        await until(lambda: "verdict" in tab._verdict.object and "Why" in tab._why.object)
        first, picture = tab._verdict.object, tab._sources["image"].data["image"][0]
        tab._sliders._dials["defocus"].put(250.0)
        tab._sliders._moved()
        await until(lambda: tab._verdict.object != first)
        assert not np.array_equal(tab._sources["image"].data["image"][0], picture)
        assert tab._sources["prediction"].data["xs"] and tab._sources["current"].data["sigma"]
        tab._advisor.submit(tab._sliders.condition)
        await until(lambda: "What to do" in tab._why.object)
        # Reasons that come later do not take the place of the advice.
        tab._explainer.submit(tab._sliders.condition)
        await until(lambda: tab._explainer._task.done())
        assert "What to do" in tab._why.object

    in_a_document(action)


def test_a_thousand_moves_of_a_slider_leave_no_memory_behind(subject):
    async def action():
        tab, kept = OpticsTab(subject), []
        tab.layout()
        await until(lambda: "verdict" in tab._verdict.object)
        for part in range(3):
            for i in range(50 if part == 0 else 500):
                # Each is a condition of its own.
                tab._sliders._dials["defocus"].put(10.0 * part + 0.01 * i)
                tab._sliders._moved()
                await asyncio.sleep(0.001 if i % 100 else 0.1)
            await until(lambda: all(w._task.done() for w in (tab._drawer, tab._predictor, tab._explainer)))
            gc.collect()
            kept.append(len(gc.get_objects()))
        # One object left behind by each move would be 500.
        assert kept[2] - kept[1] < 250, kept

    in_a_document(action)


@pytest.mark.parametrize("typed", ["abc", "1,5", "nan", "inf", "1e999", "３００", "80 Å", "--5"])
def test_what_is_no_number_is_refused_by_name_and_changes_nothing(subject, typed):
    async def action():
        tab = OpticsTab(subject)
        tab.layout()
        await until(lambda: "verdict" in tab._verdict.object)
        before = tab._sliders.condition
        tab._sliders._dials["defocus"]._box.value = typed
        await until(lambda: "refusal" in tab._message.object)
        assert f"defocus [Å]: &#x27;{typed}&#x27; is not a number; give one such as 80" in tab._message.object
        assert tab._sliders.condition == before
        tab._sliders._dials["defocus"]._box.value = "−120.5"
        await until(lambda: tab._sliders.condition.defocus_angstrom == -120.5)
        assert "12.1 nm overfocus" in tab._sliders._dials["defocus"]._label.object
        tab._sliders._dials["defocus"]._box.value = ""
        await until(lambda: "defocus [Å]: is empty; give a number" in tab._message.object)

    in_a_document(action)


def test_the_page_answers_while_a_condition_file_is_read(subject, monkeypatch):
    page_went_on = threading.Event()

    def slow(text):
        assert page_went_on.wait(30), "the page stood still while a file was read"
        raise BadInputError("condition file: has more than 1000 nodes")

    monkeypatch.setattr(sliders, "from_yaml", slow)

    async def action():
        tab = OpticsTab(subject)
        tab.layout()
        await until(lambda: "verdict" in tab._verdict.object)
        tab._sliders._use.clicks += 1
        asyncio.get_running_loop().call_later(0.1, page_went_on.set)
        await until(lambda: "1000 nodes" in tab._message.object)

    in_a_document(action)


def test_a_study_goes_when_its_folder_is_wrong(tmp_path):
    async def action():
        tab = StudyTab(study(tmp_path))
        tab.layout()
        await until(lambda: "4 pairs" in tab._report.object)
        assert all(pane.visible for pane in tab._panes)
        tab._folder.value = str(tmp_path / "nowhere")
        await until(lambda: "has no scores.parquet" in tab._report.object)
        assert not any(pane.visible for pane in tab._panes) and tab._pairs is None

    in_a_document(action)


def test_the_example_needs_no_file_of_the_user(subject, tmp_path):
    async def action():
        tab = MicrographTab(subject, Stores.in_folder(tmp_path), lambda condition: None)
        tab.layout()
        assert tab._again.disabled and not any(pane.visible for pane in tab._panes.values())
        tab._example.clicks += 1
        await until(lambda: tab._analysis is not None, seconds=120)
        tab._stop()
        assert "example.tif" in tab._title.object and tab._fields["energy_ev"].value == "300000"
        assert tab._analysis.micrograph.pixel_size_angstrom == pytest.approx(51.2 / 256, rel=1e-4)

    in_a_document(action)


def test_a_micrograph_is_analyzed_and_messages_name_the_fields(subject, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.poisson(100 - 30 * (np.hypot(*(np.mgrid[:160, :160] - 80)) < 20)).astype(np.float32)

    async def action():
        stores = Stores.in_folder(tmp_path)
        uploads = stores.micrographs
        tab = MicrographTab(subject, stores, lambda condition: None)
        tab.layout()
        key, path = uploads.reserve("gold.tif")
        tifffile.imwrite(path, image)
        uploads.add(key, path, "gold.tif")
        tab._arrived(key)
        await until(lambda: "refusal" in tab._message.object)
        assert "gold.tif: its pixel size is not known" in tab._message.object
        assert "give it with the field “pixel size”" in tab._message.object
        # The picture can be looked at although nothing can be measured on it.
        assert tab._sources["image"].data["image"][0].shape == image.shape and tab._panes[tab._picture].visible
        assert "gold.tif" in tab._title.object and not len(tab._sources["bar"].data["text"])
        tab._fields["pixel_size_angstrom"].value = "abc"
        tab._start()
        await until(lambda: "“pixel size”: &#x27;abc&#x27; is not a number" in tab._message.object)
        tab._fields["pixel_size_angstrom"].value, tab._fields["energy_ev"].value = "80", "300e3"
        tab._start()
        await until(lambda: "80 Å is not that of" in tab._message.object)
        tab._fields["pixel_size_angstrom"].value = "0.8"
        tab._start()
        await until(lambda: "verdict" in tab._verdict.object and tab._message.object == "", seconds=120)
        assert "pixel size 0.8000 Å, given" in tab._report.object and "The optics" in tab._report.object
        assert "<table>" in tab._particles.object and len(tab._sources["bars"].data["top"])
        found = tab._analysis.segmentation
        assert tab._sources["numbers"].data["text"] == [str(n) for n in found.particles["particle"]]
        # Every outline goes round one particle of the table, in the picture's units.
        for xs, ys in zip(*(tab._sources["prediction"].data[axis] for axis in ("xs", "ys")), strict=True):
            rows, columns = ((image.shape[0] * 0.08 - ys) / 0.08 - 0.5).round(), (xs / 0.08 - 0.5).round()
            near = [
                found.instances[max(int(r) - 1, 0) : int(r) + 2, max(int(c) - 1, 0) : int(c) + 2].max()
                for r, c in zip(rows, columns, strict=True)
            ]
            assert set(near) - {0}
        assert str(tmp_path) not in tab._report.object + tab._verdict.object
        # A particle is deleted by hand: table, outlines and tables to download follow.
        tab._correct.clicks += 1
        await until(lambda: tab._editing.layout.visible)
        assert not tab._fields_column.visible
        count, (y, x) = len(found.particles), np.argwhere(found.instances == 1)[0]
        tab._editing.editor._handle_msg(
            {"kind": "stroke", "id": 1, "tool": "remove", "points": [x + 0.5, y + 0.5], "radius": 2}
        )
        await until(lambda: tab._editing.result is not None)
        tab._editing._end.clicks += 1
        await until(lambda: tab._correct.visible)
        assert tab._fields_column.visible and len(tab._analysis.segmentation.particles) == count - 1
        assert len(tab._sources["numbers"].data["text"]) == count - 1

    in_a_document(action)
