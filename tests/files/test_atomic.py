import errno
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from passband.base.errors import BadInputError
from passband.files import atomic, jobs
from passband.files.tables import write_table


def test_write_is_all_or_nothing(tmp_path):
    path = tmp_path / "deep" / "table.txt"
    atomic.write_text(path, "first")

    def broken(temporary):
        temporary.write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        atomic.write_file(path, broken)
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["table.txt"]


def test_full_disk_is_one_clear_line(tmp_path):
    def full(temporary):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(
        BadInputError, match=r"the disk is full \(\d+ MB free\); free some space and run the same command again"
    ):
        atomic.write_file(tmp_path / "x", full)
    assert list(tmp_path.iterdir()) == []


def test_a_really_full_disk():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(BadInputError, match="disk is full"),
        atomic.disk_errors(Path("/dev")),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 10)
        full.flush()


def test_space_is_checked_beforehand(tmp_path):
    atomic.require_space(tmp_path / "not" / "yet", 1000)
    with pytest.raises(BadInputError, match="MB are needed and .* MB are free"):
        atomic.require_space(tmp_path / "not" / "yet", 10**18)


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        atomic.write_text(tmp_path / "file" / "below", "x")


def test_tables_and_weights_report_a_full_disk_too(tmp_path, monkeypatch):
    # Polars and safetensors would raise errors of their own; whatever they write goes through write_bytes.
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(BadInputError, match="disk is full"):
        write_table(tmp_path / "scores.parquet", pl.DataFrame({"a": [1]}))
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_held_by_one_and_dies_with_its_holder(tmp_path):
    lock = tmp_path / ".lock"
    with atomic.locked(lock, wait=False), pytest.raises(BlockingIOError), atomic.locked(lock, wait=False):
        pass
    with atomic.locked(tmp_path / ".lock", wait=False):
        pass


def make_cell(cell, text="data"):
    with jobs.writing(cell, {"seconds": 1.0}) as folder:
        (folder / "a.txt").write_text(text)


def test_cell_is_finished_only_when_whole(tmp_path):
    cell = tmp_path / "train-1"
    with pytest.raises(KeyboardInterrupt), jobs.writing(cell, {}) as folder:
        (folder / "a.txt").write_text("half")
        raise KeyboardInterrupt
    assert not cell.exists()
    assert list(tmp_path.iterdir()) == []
    make_cell(cell)
    assert jobs.marker(cell)["seconds"] == 1.0
    (cell / "a.txt").write_text("dat")
    assert not jobs.is_finished(cell)
    make_cell(cell, "new")
    assert jobs.is_finished(cell)
    (cell / "a.txt").unlink()
    assert not jobs.is_finished(cell)
    make_cell(cell)
    (cell / "done.json").write_text('{"fi')
    assert not jobs.is_finished(cell)


def test_folders_are_read_again_only_if_they_changed(tmp_path, monkeypatch):
    home = tmp_path / "cells"
    for name in "abc":
        make_cell(home / f"train-{name}")
    read, whole = [], jobs._digest
    monkeypatch.setattr(jobs, "_digest", lambda path: read.append(path.parent.name[-1]) or whole(path))

    def finished(home=home):
        # As another process would see it.
        checked, found = jobs.CheckedFolders(home), []
        for name in "abc":
            found += [name] if checked.marker(home / f"train-{name}") else []
        checked.save()
        seen = "".join(read)
        read.clear()
        return "".join(found), seen

    # What changed just now may change again within a tick of the clock.
    monkeypatch.setattr(jobs, "_TICK_NS", 10**12)
    assert finished() == ("abc", "abc") == finished()
    monkeypatch.setattr(jobs, "_TICK_NS", 0)
    assert finished() == ("abc", "abc")
    assert finished() == ("abc", "")
    file = home / "train-b" / "a.txt"
    times = file.stat()
    file.write_text("Data")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert finished() == ("ac", "b")
    file.write_text("data")
    (home / "train-c" / "a.txt").unlink()
    assert finished() == ("ab", "b")
    shutil.copytree(home, tmp_path / "copy")
    assert finished(tmp_path / "copy") == ("ab", "ab")
    for damaged in ("[]", "{", '{"train-a": 3}'):
        (tmp_path / ".cells.json").write_text(damaged)
        assert finished() == ("ab", "ab")


def test_leftovers_of_killed_runs_are_removed(tmp_path):
    leftover = tmp_path / ".train-1.999.tmp"
    leftover.mkdir()
    (leftover / "a.txt").write_text("half")
    make_cell(tmp_path / "train-2")
    (tmp_path / ".scores.parquet.999.tmp.parquet").write_text("half")
    atomic.remove_leftovers(tmp_path, tmp_path / "none")
    assert [p.name for p in tmp_path.iterdir()] == ["train-2"]


@pytest.mark.parametrize(
    "fault",
    [
        OSError("17030 requested and 11176 written"),
        OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"),
        RuntimeError("No space left on device (os error 28)"),
    ],
    ids=["numpy", "hdf5", "polars"],
)
def test_of_several_files_all_or_none_are_written(tmp_path, fault):
    def fail(path):
        path.write_bytes(b"half")
        raise fault

    (tmp_path / "a.txt").write_text("before")
    writers = {tmp_path / "a.txt": lambda path: path.write_text("after"), tmp_path / "b.tif": fail}
    with pytest.raises(BadInputError, match=r"b.tif: the disk is full"):
        atomic.write_files(writers)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "before"
    atomic.write_files(writers | {tmp_path / "b.tif": lambda path: path.write_text("b")})
    assert (tmp_path / "a.txt").read_text() == "after" and (tmp_path / "b.tif").read_text() == "b"
