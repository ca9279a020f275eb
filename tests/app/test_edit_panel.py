"""Correcting particles without a browser: what the canvas sends, and what it is told."""

import asyncio
import base64
import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from passband.app.downloads import Downloads
from passband.app.edit_panel import EditPanel
from passband.app.mask_editor import opening, patch
from passband.micrographs.measure_particles import measured
from passband.micrographs.micrograph import Micrograph
from passband.models.segment import Segmentation
from passband.specimens.crystals import library_crystal
from support.pages import in_a_document, until

# Names that Panel 1.5 needs and Panel 2 will not have.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

PIXEL = 0.4
Y, X = np.mgrid[:128, :160] + 0.5


@pytest.fixture
def found():
    instances = np.zeros(X.shape, np.int32)
    for number, x in enumerate((40, 110), 1):
        instances[np.hypot(X - x, Y - 40) <= 18] = number
    image = Micrograph(np.random.default_rng(0).poisson(100 - 30 * (instances > 0)).astype(np.float32), PIXEL)
    probability = np.where(instances > 0, 0.9, 0.1).astype(np.float32)
    table = measured(instances, PIXEL, probability).with_columns(confidence=0.9, region="particle", crystalline=False)
    return Segmentation(image, probability, instances > 0, instances, table)


def drawn(address):
    return np.array(Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA"))


def test_strokes_change_table_labels_and_canvas_in_their_order(found):
    async def action():
        shown, closed, used, told = [], [], [], []

        async def close():
            closed.append(True)
            panel.layout.visible = False

        async def use(result):
            used.append(result)

        downloads = Downloads()
        panel = EditPanel(downloads, shown.append, close, use)
        panel.editor.tell = lambda **news: told.append(news)
        await panel.open(found, [library_crystal("Au")])
        await until(lambda: panel.layout.visible and panel.editor.scene)
        assert panel.editor.scene["shown"] == [160, 128] and not panel.editor.scene["undo"]
        assert [mark[2] for mark in panel.editor.scene["numbers"]] == ["1", "2"] and not shown
        send = panel.editor._handle_msg
        send({"kind": "stroke", "id": 1, "tool": "merge", "points": [40, 40, 110, 40], "radius": 4})
        send({"kind": "stroke", "id": 2, "tool": "brush", "points": [40, 100, 60, 100], "radius": 14})
        send({"kind": "stroke", "id": 3, "tool": "erase", "points": [10, 10], "radius": 2})
        await until(lambda: [news["id"] for news in told if "id" in news] == [1, 2, 3])
        assert told[-1]["undo"] or "numbers" in told[-1]
        await until(lambda: shown and len(shown[-1].particles) == 2)
        assert panel._edits.count == 2 and "mask with yours 0." in panel._message.object
        assert [row[0] for row in panel._links.links] == ["labels (TIFF)", "ImageJ regions", "COCO"]
        send({"kind": "undo"})
        await until(lambda: len(shown[-1].particles) == 1)
        send({"kind": "redo"})
        await until(lambda: len(shown[-1].particles) == 2)
        panel._use.clicks += 1
        await until(lambda: used)
        assert used[0] is panel.result
        panel._end.clicks += 1
        await until(lambda: closed and not panel.layout.visible)
        # Now the lattices of all are known.
        assert panel.result.particles["crystalline"].null_count() == 0
        await panel.open(found, [])
        await until(lambda: panel.layout.visible)
        assert panel.editor.scene["undo"] and len(panel.editor.scene["numbers"]) == 2
        panel.forget()
        assert panel.result is None and panel._edits is None

    in_a_document(action)


@pytest.mark.parametrize(
    "message",
    [{"kind": "stroke"}, {"kind": "stroke", "tool": "brush", "points": ["x", None], "radius": 3}, {"kind": "undo"}, {}],
)
def test_a_message_that_means_nothing_changes_nothing(found, message):
    async def action():
        async def close():
            pass

        panel, told = EditPanel(Downloads(), lambda result: None, close), []
        panel.editor.tell = lambda **news: told.append(news)
        await panel.open(found, [])
        await until(lambda: panel.editor.scene)
        told.clear()
        panel.editor._handle_msg(message)
        await until(lambda: told)
        assert told[0]["id"] == 0 and "url" not in told[0] and panel._edits.count == 0

    in_a_document(action)


def test_a_patch_draws_what_the_whole_picture_would(found):
    numbers = found.instances.copy()
    scene = opening(found.micrograph, numbers)
    whole = drawn(scene["labels"])
    assert whole.shape == (128, 160, 4) and not whole[numbers == 0][:, 3].all()
    assert (whole[40, 40] == [77, 212, 255, 70]).all() and whole[40, 22, 3] == 255
    numbers[30:60, 60:100] = 7
    part = patch(numbers, (slice(30, 60), slice(60, 100)), 1)
    x, y, piece = part["x"], part["y"], drawn(part["url"])
    whole[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    assert np.array_equal(whole, drawn(opening(found.micrograph, numbers)["labels"]))


def test_a_large_image_is_shown_smaller_and_patched_there():
    rng = np.random.default_rng(1)
    image = Micrograph(rng.normal(100, 10, (2500, 4100)).astype(np.float32), 0.2)
    numbers = np.zeros(image.intensity.shape, np.int32)
    numbers[600:1200, 900:2000] = 3
    scene = opening(image, numbers)
    assert scene["shown"] == [1366, 833] and (scene["width"], scene["height"]) == (4098, 2499)
    whole = drawn(scene["labels"])
    assert (whole[600 // 3 + 20, 1300 // 3] == [255, 143, 199, 70]).all()
    numbers[1100:1300, 1900:2500] = 5
    part = patch(numbers, (slice(1100, 1300), slice(1900, 2500)), 3)
    piece = drawn(part["url"])
    whole[part["y"] : part["y"] + piece.shape[0], part["x"] : part["x"] + piece.shape[1]] = piece
    assert np.array_equal(whole, drawn(opening(image, numbers)["labels"]))


def test_the_page_answers_while_a_stroke_is_applied(found, monkeypatch):
    went_on = threading.Event()

    def slow(message, edits, step):
        assert went_on.wait(30), "the page stood still while a stroke was applied"
        return {}

    monkeypatch.setattr("passband.app.edit_panel._applied", slow)

    async def action():
        async def close():
            pass

        panel, told = EditPanel(Downloads(), lambda result: None, close), []
        panel.editor.tell = lambda **news: told.append(news)
        await panel.open(found, [])
        await until(lambda: panel.editor.scene)
        told.clear()
        panel.editor._handle_msg({"kind": "undo"})
        asyncio.get_running_loop().call_later(0.1, went_on.set)
        await until(lambda: told)

    in_a_document(action)
