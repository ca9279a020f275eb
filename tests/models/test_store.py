"""Models are read whole or not at all."""

import json
import pickle
import zipfile

import pytest

from passband.base.errors import BadInputError
from passband.models.network import Network
from passband.models.store import CARD, WEIGHTS, export_zip, import_zip, installed, load_model, read_model
from support import made


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "own"))
    return made.bare_model(tmp_path / "made")


def test_a_model_comes_back_as_it_was_written(model):
    again = read_model(model.folder)
    assert again.card == model.card
    assert again.scores is None
    assert load_model(model.folder).card == model.card


def test_export_and_import(model, tmp_path):
    file = export_zip(model, tmp_path / "made.zip")
    came = import_zip(file)
    assert came.card == model.card
    assert installed()["made"] == came.folder
    assert load_model("made").card == model.card
    with pytest.raises(BadInputError, match="a model 'made' is installed already"):
        import_zip(file)
    with pytest.raises(BadInputError, match="exists; choose another name"):
        export_zip(model, file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / WEIGHTS).write_bytes(b"x" + (f / WEIGHTS).read_bytes()[1:]), "its checksum differs"),
        (lambda f: (f / WEIGHTS).unlink(), "is missing, no plain file"),
        (
            lambda f: (f / CARD).write_text((f / CARD).read_text().replace('"tests"', '"surgery"')),
            "has been changed since",
        ),
        (lambda f: (f / CARD).write_text("{"), "cannot be read"),
        (lambda f: (f / CARD).write_text("[" * 100_000), "cannot be read"),
        (lambda f: (f / CARD).write_text('{"name": "x"}'), "is not a model's card"),
        (lambda f: (f / CARD).unlink(), "is no model"),
    ],
)
def test_what_does_not_match_is_refused(model, change, message):
    change(model.folder)
    with pytest.raises(BadInputError, match=message) as caught:
        read_model(model.folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(model):
    card = json.loads((model.folder / CARD).read_text())
    card["network"]["widths"] = [8, 16]
    other = made.ModelCard.model_validate(card)
    (model.folder / CARD).write_text(json.dumps(card | {"digest": other.own_digest()}))
    with pytest.raises(BadInputError, match="does not hold the weights that its card describes"):
        Network(read_model(model.folder))


class Trap:
    def __reduce__(self):
        return (open, ("trapped", "w"))


@pytest.mark.parametrize("name", ["../escape", "/tmp/escape", "a/b", ".hidden"])
def test_archives_that_would_write_elsewhere_are_refused(model, tmp_path, name):
    file = tmp_path / "bad.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(BadInputError, match="which no model does"):
        import_zip(file)
    assert not (tmp_path / "own" / "bad").exists()


def test_pickles_and_noise_are_refused_and_not_run(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "model.zip"
    for content in (pickle.dumps(Trap()), b"", b"PK\x03\x04 but no archive"):
        file.write_bytes(content)
        with pytest.raises(BadInputError, match="is no zip file of a model"):
            import_zip(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(model.folder / CARD, CARD)
        archive.writestr(WEIGHTS, pickle.dumps(Trap()))
    with pytest.raises(BadInputError, match="its checksum differs"):
        import_zip(file)
    assert not (tmp_path / "trapped").exists()
    assert list((tmp_path / "own").iterdir()) == []


def test_a_bomb_is_not_unpacked(model, tmp_path):
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(17):
            archive.writestr(f"{i}", b"")
    with pytest.raises(BadInputError, match="more than a model holds"):
        import_zip(file)


def test_an_unknown_name_lists_the_known(model):
    with pytest.raises(BadInputError, match="no such model; there are"):
        load_model("nothing")
