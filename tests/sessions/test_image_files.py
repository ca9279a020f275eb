"""Which micrographs files, folders and patterns name."""

import json

import pytest

from passband.base.errors import BadInputError
from passband.models.outputs import names
from passband.sessions.image_files import find_images


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found(*sources, **options):
    return [path.name for path in find_images(sources, **options).paths]


def test_folders_with_what_is_in_them_in_natural_order(tmp_path):
    touch(
        *(
            tmp_path / name
            for name in ("shot_10.tif", "shot_2.dm4", "a/shot_1.mrc", ".hidden.tif", ".trash/b.tif", "notes.txt")
        )
    )
    files = find_images([tmp_path])
    assert [path.name for path in files.paths] == ["shot_1.mrc", "shot_2.dm4", "shot_10.tif"]
    assert files.searched and files.notes == ("left out: files that end in .txt",)


def test_each_file_once_and_named_files_as_they_are(tmp_path):
    touch(tmp_path / "a.tif", tmp_path / "b.tif", tmp_path / "odd.txt")
    (tmp_path / "link.tif").symlink_to(tmp_path / "a.tif")
    assert found(tmp_path / "a.tif", tmp_path / "link.tif", tmp_path, str(tmp_path / "*.tif")) == ["a.tif", "b.tif"]
    one = find_images([tmp_path / "odd.txt"])
    assert [path.name for path in one.paths] == ["odd.txt"] and not one.searched


def test_patterns(tmp_path):
    touch(tmp_path / "x" / "a.tif", tmp_path / "x" / "b.mrc", tmp_path / "y" / "c.tif", tmp_path / "[1].tif")
    assert found(str(tmp_path / "*" / "*.tif")) == ["a.tif", "c.tif"]
    assert found(str(tmp_path / "**" / "*.mrc")) == ["b.mrc"]
    assert found(str(tmp_path / "?")) == ["a.tif", "b.mrc", "c.tif"]
    # A file whose name looks like a pattern is that file.
    assert found(tmp_path / "[1].tif") == ["[1].tif"]


def test_results_masks_and_pictures_are_no_input(tmp_path):
    touch(
        tmp_path / "a.tif",
        tmp_path / "a_mask.png",
        tmp_path / "b.dm4",
        tmp_path / "b.png",
        tmp_path / "c.png",
        tmp_path / "my_mask.tif",
    )
    results = [tmp_path / "old" / name for name in names("a").values()]
    touch(
        *results,
        tmp_path / "old" / "contact_sheet.png",
        tmp_path / "old" / "a_probability2.tif",
        tmp_path / "out" / "z.tif",
    )
    (tmp_path / "old" / names("a")["record"]).write_text(json.dumps({"model_digest": "1"}))
    files = find_images([tmp_path], tmp_path / "out")
    assert [path.name for path in files.paths] == ["a.tif", "b.dm4", "c.png", "my_mask.tif", "a_probability2.tif"]
    count = sum(path.suffix in (".tif", ".png", ".hspy") for path in results) + 3
    assert files.notes[0].startswith(f"left out: {count} files that are masks")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("empty", "empty: holds no micrograph .*; name the folder"),
        ("texts", "texts: holds no micrograph .*; it has 1 other file; name the folder"),
        ("none/*.dm4", r"none/\*.dm4: holds no micrograph .*; correct the pattern"),
        ("gone.tif", "gone.tif: cannot be read: No such file or directory; give"),
    ],
)
def test_nothing_there_is_one_line(tmp_path, source, words):
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "texts" / "a.txt", tmp_path / "good.tif")
    with pytest.raises(BadInputError, match=words):
        find_images([tmp_path / "good.tif", str(tmp_path / source)])
