"""The tabs without a browser: what is shown after a slider moves, a file arrives, or a field is wrong."""

import asyncio
import time

import numpy as np
import pytest
import tifffile
from bokeh.document import Document
from panel.io.state import set_curdoc

from passband.app.micrograph_tab import MicrographTab
from passband.app.optics_tab import OpticsTab
from passband.app.page import subject_of
from passband.app.uploads import Uploads
from passband.models.card import Specimens
from passband.models.store import load_model
from passband.verdicts.calibration import with_scores
from support import made

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


def in_a_document(action):
    """Run a coroutine function where tabs can be built; what is due at the next tick of the page runs at once."""

    async def run():
        document = Document()
        document.add_next_tick_callback = asyncio.get_running_loop().call_soon
        with set_curdoc(document):
            await action()

    asyncio.run(run())


async def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing was shown in time"
        await asyncio.sleep(0.02)


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


def test_a_micrograph_is_analyzed_and_messages_name_the_fields(subject, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.poisson(100 - 30 * (np.hypot(*(np.mgrid[:160, :160] - 80)) < 20)).astype(np.float32)

    async def action():
        uploads = Uploads(tmp_path)
        tab = MicrographTab(subject.model, subject.judge, "", uploads, lambda condition: None)
        tab.layout()
        key, path = uploads.reserve("gold.tif")
        tifffile.imwrite(path, image)
        uploads.add(key, path, "gold.tif")
        tab._arrived(key)
        await until(lambda: "refusal" in tab._message.object)
        assert "gold.tif: its pixel size is not known" in tab._message.object
        assert "give it with the field “pixel size”" in tab._message.object
        tab._fields["pixel"].value, tab._fields["energy"].value = 80.0, 300e3
        tab._start()
        await until(lambda: "80 Å is not that of" in tab._message.object)
        tab._fields["pixel"].value = 0.8
        tab._start()
        await until(lambda: "verdict" in tab._verdict.object and tab._message.object == "", seconds=120)
        assert "pixel size 0.8000 Å, given" in tab._report.object and "The optics" in tab._report.object
        assert "<table>" in tab._particles.object and len(tab._sources["bars"].data["top"])
        assert str(tmp_path) not in tab._report.object + tab._verdict.object

    in_a_document(action)
