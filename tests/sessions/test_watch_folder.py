"""Which files of a folder are complete, with a clock that the test turns."""

import os

import pytest

from passband.sessions import watch_folder
from passband.sessions.watch_folder import WatchedFolder


@pytest.fixture
def clock(monkeypatch):
    """Seconds of the watch's clock, in a list."""
    now = [100.0]
    monkeypatch.setattr(watch_folder.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def looks(tmp_path, clock):
    """Look so many seconds later, and return the names that are complete."""
    watched = WatchedFolder(tmp_path, tmp_path / "out")

    def look(seconds=1.0):
        clock[0] += seconds
        return [path.name for path in watched.look()]

    look.folder = watched
    return look


def test_complete_is_what_two_looks_see_alike(tmp_path, looks):
    shot = tmp_path / "a.tif"
    shot.write_bytes(b"1")
    assert looks() == [] and looks(0.5) == [] and looks(0.5) == ["a.tif"] and looks() == []
    shot.write_bytes(b"22")
    assert looks() == [] and looks.folder.restless and looks() == ["a.tif"]
    os.utime(shot, (1, 1))
    assert looks() == [] and looks() == ["a.tif"] and not looks.folder.restless


def test_an_empty_file_may_be_about_to_be_written(tmp_path, looks):
    (tmp_path / "a.tif").touch()
    assert looks() == looks(20) == [] and looks(20) == ["a.tif"]


def test_a_file_that_cannot_be_read_is_returned_once_more(tmp_path, looks):
    shot = tmp_path / "a.tif"
    shot.write_bytes(b"1")
    looks()
    assert looks() == ["a.tif"] and looks.folder.retry(shot)
    assert looks() == [] and not looks.folder.restless and looks.folder.pending == [shot]
    assert looks(40) == ["a.tif"] and not looks.folder.retry(shot)
    # What changes is new.
    shot.write_bytes(b"22")
    assert looks() == [] and looks() == ["a.tif"] and looks.folder.retry(shot)


def test_names(tmp_path, looks):
    for name in ("s/a_10.tif", "s/a_2.tif", "a_2.png", "s/a_2.png", "out/b.tif", ".c.tif", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "link.tif").symlink_to(tmp_path / "s" / "a_2.tif")
    looks()
    assert looks() == ["a_2.png", "link.tif", "a_10.tif"]
    assert [path.name for path in looks.folder.alike(tmp_path / "a_2.png")] == ["a_2.png"]
    (tmp_path / "a_2.png").rename(tmp_path / "e.png")
    assert looks() == [] and [path.name for path in looks.folder.images] == ["e.png", "link.tif", "a_10.tif"]
    assert looks() == ["e.png"]


def test_many_files_at_rest_are_looked_at_in_turn(tmp_path, looks, monkeypatch):
    for number in range(400):
        (tmp_path / f"{number}.tif").write_bytes(b"1")
    looks()
    assert len(looks()) == 400
    asked = []
    state_of = watch_folder.state_of
    monkeypatch.setattr(watch_folder, "state_of", lambda path: asked.append(path) or state_of(path))
    (tmp_path / "7.tif").write_bytes(b"22")
    ready = [name for _ in range(10) for name in looks()]
    assert len(asked) <= 10 * 101 and ready == ["7.tif"]
