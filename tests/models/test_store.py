"""Models are read whole or not at all."""

import contextlib
import json
import lzma
import pickle
import struct
import subprocess
import sys
import time
import zipfile

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from passband.base.errors import BadInputError
from passband.models.network import Network
from passband.models.store import (
    CARD,
    PREDICTOR,
    SCORES,
    WEIGHTS,
    digest,
    export_zip,
    import_zip,
    installed,
    load_model,
    read_model,
)
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


def rewritten(model, tmp_path, change):
    """The zip file of a model whose card was changed by somebody who can make its checksum."""
    card = json.loads((model.folder / CARD).read_text())
    change(card)
    try:
        text = json.dumps(card | {"digest": made.ModelCard.model_validate(card).own_digest()})
    except ValueError:
        text = json.dumps(card)
    file = tmp_path / "changed.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(CARD, text)
        for name in model.card.files:
            archive.write(model.folder / name, name)
    return file


def one_line(file, match=None):
    began = time.perf_counter()
    with pytest.raises(BadInputError, match=match) as caught:
        import_zip(file)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 1500
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), 0.0, -1.0, []])
def test_scores_without_a_loss_to_compare_with_are_refused(scored_model, tmp_path, monkeypatch, value):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "own"))
    one_line(rewritten(scored_model, tmp_path, lambda card: card.update(own_loss=value)), "own_loss|NaN|Infinity")


@pytest.mark.parametrize(
    ("column", "match"),
    [
        ({"loss": pl.lit(float("nan"))}, "column loss that no score has"),
        ({"loss": pl.lit(None, pl.Float64)}, "column loss that no score has"),
        ({"dice": pl.lit(1.5)}, "column dice that no score has"),
        ({"loss": pl.lit(-1.0)}, "column loss that no score has"),
        ({"loss": pl.lit("much")}, "has no column loss of Float64"),
        ({"role": pl.lit(None, pl.String)}, "column role that no score has"),
        ({"image1": pl.lit(pl.Series([[0.0] * 5000])).first()}, "lists of more than the 64 features"),
    ],
)
def test_a_table_of_scores_is_checked(scored_model, tmp_path, monkeypatch, column, match):
    monkeypatch.setenv("PASSBAND_MODELS", str(tmp_path / "own"))
    table = scored_model.scores.with_columns(**column)
    table.write_parquet(tmp_path / SCORES)
    card = json.loads((scored_model.folder / CARD).read_text())
    card["files"][SCORES] = digest(tmp_path / SCORES)
    file = tmp_path / "changed.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(CARD, json.dumps(card | {"digest": made.ModelCard.model_validate(card).own_digest()}))
        archive.write(tmp_path / SCORES, SCORES)
        for name in (WEIGHTS, PREDICTOR):
            archive.write(scored_model.folder / name, name)
    one_line(file, match)


def packed(path, content, kind=zipfile.ZIP_DEFLATED, name=CARD):
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr(name, content)
    return path.read_bytes()


def test_zip_files_of_all_kinds_of_damage_are_one_line(model, tmp_path):
    file = tmp_path / "odd.zip"
    for kind in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        whole = packed(file, bytes(range(256)) * 40, kind)
        for at in range(30, len(whole), max(len(whole) // 15, 1)):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            one_line(file)
        one_line(file)
    whole = packed(file, b"x", name="cärd")
    file.write_bytes(whole.replace("cärd".encode(), b"c\xff\xferd"))
    one_line(file)
    for name in ("card\x1b[31m.json", "a" * 60_000, "card.json\n", " ", "con", "CARD.JSON"):
        packed(file, b"x", name=name)
        one_line(file, "which no model does|is no zip file")
    with zipfile.ZipFile(file, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(CARD, b"{}")
        archive.writestr(CARD, b"{}")
    one_line(file, "twice")
    whole = packed(file, b"x")
    flagged = whole[:6] + struct.pack("<H", 1) + whole[8:]
    at = flagged.index(b"PK\x01\x02") + 8
    file.write_bytes(flagged[:at] + struct.pack("<H", 1) + flagged[at + 2 :])
    one_line(file, "encrypted")
    packed(file, lzma.compress(b"{}"), zipfile.ZIP_LZMA)
    one_line(file, "in another way than zip's usual one")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(WEIGHTS, "w") as entry:
        for _ in range(100):
            entry.write(bytes(1_000_000))
    one_line(file, "to 100 MB, more than a model holds")
    assert list((tmp_path / "own").iterdir()) == []


def test_numbers_that_are_none_in_weights_are_refused(model, tmp_path):
    weights = load_file(model.weights)
    name = next(k for k, v in weights.items() if v.is_floating_point())
    weights[name][0] = float("nan")
    copy = made.write_model(tmp_path / "nan", model.card, {WEIGHTS: save(weights)})
    with pytest.raises(BadInputError, match="contains values that are no numbers; get the model again"):
        Network(copy)
    weights = {k: v.int() for k, v in load_file(model.weights).items()}
    copy = made.write_model(tmp_path / "whole", model.card, {WEIGHTS: save(weights)})
    with pytest.raises(BadInputError, match="differs; get the model again"):
        Network(copy)


def test_what_a_killed_import_left_goes_with_the_next(model, tmp_path):
    file = export_zip(model, tmp_path / "made.zip")
    code = f"""
import os, shutil
from passband.models import store
shutil.copyfileobj = lambda *_: os.kill(os.getpid(), 9)
store.import_zip({str(file)!r})
"""
    killed = subprocess.run([sys.executable, "-c", code], check=False)
    assert killed.returncode == -9 and len(list((tmp_path / "own").iterdir())) == 1
    import_zip(file)
    assert [p.name for p in (tmp_path / "own").iterdir()] == ["made"]


WRONG = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_wrong_field_of_a_card_is_one_line_or_a_card(model, tmp_path, data):
    card = json.loads((model.folder / CARD).read_text())
    place = card if data.draw(st.booleans()) else card["specimens"]
    key = data.draw(st.sampled_from(sorted(place)) | st.text(max_size=8))
    if data.draw(st.booleans()):
        place.pop(key, None)
    else:
        place[key] = data.draw(WRONG)
    with contextlib.suppress(ValueError):
        card["digest"] = made.ModelCard.model_validate(card).own_digest()
    folder = tmp_path / "changed"
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_bytes(model.weights.read_bytes())
    (folder / CARD).write_text(json.dumps(card))
    try:
        again = read_model(folder)
    except BadInputError as error:
        assert str(error).isprintable() and len(str(error)) < 1500
    else:
        texts = (again.card.intended_use, again.card.licence, *again.card.limits, *again.card.specimens.elements)
        assert all(" ".join(text.split()).isprintable() for text in texts)


def test_control_characters_and_endless_texts_in_a_card_are_refused(model, tmp_path):
    for key, value in {
        "intended_use": "\x1b]0;title\x07",
        "licence": "MIT\u202e",
        "limits": ["\x9b31m"],
        "name": "a\x1b",
        "specimens": {"elements": ["Au\x1b[2J"]},
        "conditions": [{"energy_ev": 3e5}] * 3000,
    }.items():
        one_line(rewritten(model, tmp_path, lambda card, k=key, v=value: card.update({k: v})), key)
    one_line(rewritten(model, tmp_path, lambda card: card.update(intended_use="x" * 10**6)), "intended_use")
    one_line(rewritten(model, tmp_path, lambda card: card.pop("specimens")), "specimens")


def test_an_unknown_name_lists_the_known(model):
    with pytest.raises(BadInputError, match="no such model; there are"):
        load_model("nothing")
