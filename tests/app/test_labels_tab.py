"""The tab "Labels" without a browser: images and masks arrive, are scored, and a model is tuned on them."""

import functools

import numpy as np
import pytest
import tifffile
from PIL import Image

from passband.app import label_work
from passband.app.labels_tab import LabelsTab
from passband.app.micrograph_tab import MicrographTab
from passband.app.model_choice import ModelChoice
from passband.app.scene import Scenes, Subject
from passband.app.stores import Stores
from passband.app.uploads import LabelUploads, Upload
from passband.base.errors import BadInputError
from passband.models.store import read_model, write_model
from passband.specimens import SpecimenRecipe
from passband.verdicts.calibration import specimens_of
from support import made, pages
from support.pages import in_a_document

until = functools.partial(pages.until, seconds=120)

# Names that Panel 1.5 needs and Panel 2 will not have.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")

RECIPE = SpecimenRecipe.model_validate(
    {
        "field_angstrom": 51.2,
        "particles": {"count": [1, 1], "diameter_angstrom": [12.0, 14.0]},
        "substrate": {"thickness_angstrom": [4.0, 5.0]},
    }
)
Y, X = np.mgrid[:96, :96]


@pytest.fixture
def subject(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "mine"))
    bare = made.bare_model(tmp_path / "bare" / "made")
    card = bare.card.model_copy(update={"specimens": specimens_of(RECIPE)})
    contents = {name: (bare.folder / name).read_bytes() for name in card.files}
    model = write_model(tmp_path / "made", card, contents)
    return Subject(Scenes(model, tmp_path / "cache"), model)


def send(tab, uploads, kind, name, write):
    key, path = uploads.reserve(name)
    write(path)
    uploads.add(key, path, name)
    tab._drops[kind].keys = [*tab._drops[kind].keys, key]


def send_pairs(tab, uploads, count):
    rng = np.random.default_rng(0)
    for i in range(count):
        x, y = rng.uniform(25, 70, 2)
        disc = np.hypot(X - x, Y - y) < 14
        shot = (100 + 60 * disc + rng.normal(0, 10, X.shape)).astype(np.float32)
        send(tab, uploads, "images", f"shot {i}.tif", lambda path, shot=shot: tifffile.imwrite(path, shot))
        send(tab, uploads, "masks", f"shot {i}_mask.png", lambda path, disc=disc: Image.fromarray(disc).save(path))


def test_pairs_are_scored_and_drawn_and_messages_name_files_and_fields(subject, tmp_path):
    async def action():
        uploads = LabelUploads(tmp_path)
        tab = LabelsTab(uploads, ModelChoice(subject))
        tab.layout()
        tab._score.clicks += 1
        await until(lambda: "there are no images" in tab._message.object)
        send_pairs(tab, uploads, 3)
        await until(lambda: "3 images, 3 masks" in tab._files.object)
        tab._score.clicks += 1
        await until(lambda: "give it with the field “pixel size”" in tab._message.object)
        tab._pixel.value = "0.8"
        tab._score.clicks += 1
        await until(lambda: "surface Dice" in tab._scores.object and tab._pane.visible)
        assert "shot 0.tif" in tab._scores.object and tab._image.options == [f"shot {i}.tif" for i in range(3)]
        # Its truth goes round the disc, in the picture's units [nm].
        [xs], [ys] = (tab._sources["truth"].data[axis] for axis in ("xs", "ys"))
        assert np.ptp(xs) == pytest.approx(28 * 0.08, abs=0.1) and np.ptp(ys) == pytest.approx(28 * 0.08, abs=0.1)
        send(tab, uploads, "masks", "other_mask.png", lambda path: Image.fromarray(X > 40).save(path))
        tab._score.clicks += 1
        await until(lambda: "refusal" in tab._message.object)
        assert "your masks: has masks without an image: other_mask.png" in tab._message.object
        assert str(tmp_path) not in tab._message.object
        tab._clear.clicks += 1
        await until(lambda: "0 images, 0 masks" in tab._files.object)
        assert not [path for path in tmp_path.iterdir() if path.suffix in (".tif", ".png")]

    in_a_document(action)


def test_a_tuned_model_is_chosen_in_both_tabs(subject, tmp_path, monkeypatch):
    async def action():
        uploads, choice = LabelUploads(tmp_path), ModelChoice(subject)
        micrographs = MicrographTab(subject, Stores.in_folder(tmp_path), lambda condition: None, choice)
        micrographs.layout()
        tab = LabelsTab(uploads, choice, steps=2, scenes=(2, 2))
        tab.layout()
        send_pairs(tab, uploads, 2)
        tab._pixel.value = "0.8"
        tab._tune.clicks += 1
        await until(lambda: "name of the tuned model”: is empty" in tab._message.object)
        tab._name.value, tab._anyway.value = "mine", True
        tab._tune.clicks += 1
        await until(lambda: "tuning mine:" in tab._message.object)
        # Meanwhile nothing else begins.
        tab._score.clicks += 1
        await until(lambda: "one piece of work is under way" in tab._message.object)
        await until(lambda: "mine" in tab._tuned.object, seconds=400)
        assert "model/mine.zip" in tab._tuned.object and "held out" in tab._tuned.object
        assert [field.value for field in choice._fields] == ["mine", "mine"]
        assert choice.current()[0].card.name == "mine" and read_model(tmp_path / "mine" / "mine")
        tab._tune.clicks += 1
        await until(lambda: "mine: exists; choose another" in tab._message.object)

    in_a_document(action)


def test_names_of_files_do_not_lead_out_of_their_folder(tmp_path):
    path = tmp_path / "key.tif"
    path.write_bytes(b"x")
    names = ("../../evil.tif", "..\\evil.tif", ".hidden.tif", "a/b;c.tif", "x" * 300 + ".tif")
    folder = label_work.placed([Upload(path, name) for name in names], tmp_path / "placed")
    assert sorted(p.name for p in folder.iterdir()) == sorted(["evil.tif", "hidden.tif", "b_c.tif", "x" * 100 + ".tif"])


def test_a_mask_that_ends_its_reader_is_one_line(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.random.default_rng(0).random((96, 96), dtype=np.float32))
    (tmp_path / "masks" / "a.png").write_bytes(b"\x89PNG no picture")
    task = label_work.ReadTask(tmp_path / "images", tmp_path / "masks", 0.8, tmp_path / "labels.npz")
    with pytest.raises(BadInputError, match=r"^a\.png: ") as fault:
        label_work.read_apart(task)
    assert str(tmp_path) not in str(fault.value)


def test_only_images_and_masks_are_taken_and_so_many(tmp_path, monkeypatch):
    uploads = LabelUploads(tmp_path, most_bytes=100)
    for name in ("a.exe", "a", "a.py", ""):
        with pytest.raises(BadInputError, match="is neither an image nor a mask"):
            uploads.reserve(name)
    monkeypatch.setattr("passband.app.uploads._TOGETHER", 2)
    monkeypatch.setattr("passband.app.uploads._TOGETHER_BYTES", 150)
    for _ in range(2):
        key, path = uploads.reserve("a.npy")
        path.write_bytes(bytes(60))
        uploads.add(key, path, "a.npy")
    assert uploads.room == 30
    with pytest.raises(BadInputError, match="more than 2 files"):
        uploads.reserve("a.npy")
