"""Many micrographs at once without a browser: a row each, junk among them, and what can be saved."""

import asyncio
import functools
import zipfile
from io import BytesIO

import numpy as np
import polars as pl
import pytest
import tifffile
from PIL import Image

from passband.app.batch_panel import BatchPanel
from passband.app.micrograph_tab import MicrographTab
from passband.app.model_choice import ModelChoice
from passband.app.scene import Scenes, Subject
from passband.app.stores import Stores
from passband.execution.base import Serial
from support import made, pages
from support.pages import in_a_document

until = functools.partial(pages.until, seconds=120)

# Names that Panel 1.5 needs and Panel 2 will not have.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

Y, X = np.mgrid[:96, :96]


@pytest.fixture
def subject(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))
    model = made.bare_model(tmp_path / "bare" / "made")
    return Subject(Scenes(model, tmp_path / "cache"), model)


@pytest.fixture
def in_this_process(monkeypatch):
    """A worker process takes seconds to start; another test has one."""
    monkeypatch.setattr("passband.app.batch_panel.Processes", lambda workers: Serial())


def picture(seed, frames=1):
    rng = np.random.default_rng(seed)
    shots = [rng.poisson(100 - 40 * (np.hypot(X - 48, Y - 40) < 14)).astype(np.float32) for _ in range(frames)]
    return np.array(shots) if frames > 1 else shots[0]


def written(path, image):
    tifffile.imwrite(path, image, imagej=True, resolution=(10 / 0.8, 10 / 0.8), metadata={"unit": "nm"})


def dropped(stores, files):
    """What the browser sends after a drop of several files; None is one that was refused."""
    batch = []
    for name, content in files:
        if content is None:
            batch.append([name, "", f"{name}: has an ending that is not known; give a micrograph"])
            continue
        key, path = stores.session.reserve(name)
        written(path, content) if isinstance(content, np.ndarray) else path.write_bytes(content)
        stores.session.add(key, path, name)
        batch.append([name, key, ""])
    return batch


def test_each_file_has_a_row_and_what_fails_says_why(subject, tmp_path, in_this_process):
    async def action():
        stores, shown = Stores.in_folder(tmp_path), []
        tab = MicrographTab(subject, stores, lambda condition: None)
        tab.layout()
        panel, tab._arrived = tab._batch, lambda key: shown.append((key, tab._number.value))
        flat = np.full((96, 96), 7.0, np.float32)
        files = [("shot 2.tif", picture(1)), ("junk.tif", b"no image"), ("shot 2.tif", picture(2, frames=2)), ("flat.tif", flat), ("notes.txt", None)]  # fmt: skip
        batch = dropped(stores, files)
        tab._drop.batch = batch
        await until(lambda: panel._rows and panel._bar.visible)
        # Nothing else begins meanwhile, and its files are not kept.
        panel.start(more := dropped(stores, [("other.tif", picture(4))]))
        assert "other files are being segmented" in tab._message.object and stores.session.find(more[0][1]) is None
        await until(lambda: panel._links.visible)
        kinds = [[line[1], line[2]] for line in panel._table.lines]
        assert [name for name, _ in kinds] == ["shot 2.tif", "junk.tif", "shot 2.tif #0", "shot 2.tif #1", "flat.tif", "notes.txt"]  # fmt: skip
        assert [verdict for _, verdict in kinds if verdict == "failed"] == ["failed"] * 3
        assert (
            "has the value 7" in panel._table.lines[4][-1] and "ending that is not known" in panel._table.lines[5][-1]
        )
        assert "3 failed" in panel._message.object or "failed" in panel._message.object
        texts = str(panel._table.lines) + panel._message.object
        assert str(tmp_path) not in texts
        panel._table._handle_msg(3)
        assert shown == [(batch[2][1], 1)] and panel._table.chosen == 3
        panel._table._handle_msg(5)
        assert "notes.txt: has an ending" in tab._message.object and len(shown) == 1
        panel._table._handle_msg(99)
        offers = {
            label: stores.downloads.find(address.removeprefix("file/")) for label, address, _ in panel._links.links
        }
        table = pl.read_csv(offers["table (CSV)"].make())
        assert table["file"].to_list() == ["shot 2.tif", "junk.tif", "shot 2.tif", "shot 2.tif", "flat.tif", "notes.txt"]  # fmt: skip
        assert table["fault"].null_count() == 3 and str(tmp_path) not in str(table.to_dict(as_series=False))
        assert Image.open(BytesIO(offers["contact sheet (PNG)"].make())).format == "PNG"
        names = zipfile.ZipFile(BytesIO(offers["masks, regions and tables (zip)"].make())).namelist()
        assert len([n for n in names if n.endswith("_mask.tif")]) == 3 and not [n for n in names if "probability" in n]
        # A second drop takes the place of the first, whose files are deleted.
        folder = panel._folder
        panel.start(dropped(stores, [("notes.txt", None), ("junk.tif", b"no image")]))
        await until(lambda: "2 of 2 files cannot be used" in panel._message.object)
        assert not folder.exists() and stores.session.find(batch[0][1]) is None
        assert [label for label, *_ in panel._links.links] == ["table (CSV)", "copy table"]
        panel._leave()
        assert not panel._folder.exists() and not stores.session._files

    in_a_document(action)


def test_a_batch_is_stopped_after_an_image(subject, tmp_path):
    async def action():
        stores, refused = Stores.in_folder(tmp_path), []
        panel = BatchPanel(
            stores.session, stores.downloads, ModelChoice(subject), dict, lambda *key: None, refused.append
        )
        panel.start(dropped(stores, [(f"shot {i}.tif", picture(i)) for i in range(3)]))
        await until(lambda: panel._bar.visible and panel.layout.visible)
        panel._stop.clicks += 1
        await until(lambda: panel._links.visible)
        assert "stopped; 1 image" in panel._message.object and len(panel._rows) == 1

    in_a_document(action)


def test_a_wrong_field_is_one_line_before_work_starts(subject, tmp_path):
    async def action():
        stores = Stores.in_folder(tmp_path)
        tab = MicrographTab(subject, stores, lambda condition: None)
        tab.layout()
        tab._fields["pixel_size_angstrom"].value = "abc"
        tab._drop.batch = dropped(stores, [("a.tif", picture(0)), ("b.tif", picture(1))])
        await until(lambda: "refusal" in tab._batch._message.object)
        assert "is not a number" in tab._batch._message.object and not tab._batch._rows
        await asyncio.sleep(0)

    in_a_document(action)
