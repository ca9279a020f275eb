"""The process that parses: what it may do, how it ends, and that it is not trusted."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.micrographs.micrograph import Calibration
from passband.micrographs.sandbox import parse_worker, parsing
from passband.micrographs.sandbox.parsing import Limits, parse
from support import files, hostile
from support.files import image
from support.hostile import Payload

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.usefixtures("closed", "own_temporary_folder"),
]

GIVEN = Calibration(pixel_size_angstrom=0.25)


def test_the_worker_may_run_send_and_write_nothing(tmp_path):
    (tmp_path / "own").mkdir()
    source, other = hostile.write(tmp_path / "a.tif", b"x"), hostile.write(tmp_path / "b.tif", b"x")
    code = f"""
import os, socket, subprocess, sys
from pathlib import Path
from passband.micrographs.sandbox import parse_worker
sys.addaudithook(parse_worker.guard(Path({str(source)!r}), Path({str(tmp_path / "own")!r})))
tries = dict(
    source=lambda: open({str(source)!r}).close(), own=lambda: open({str(tmp_path / "own" / "x")!r}, "w").close(),
    other=lambda: open({str(other)!r}), write=lambda: open({str(source)!r}, "a"), home=lambda: open(Path.home() / ".profile"),
    system=lambda: os.system("true"), run=lambda: subprocess.run(["true"]), fork=os.fork, exec=lambda: os.execv("/bin/true", ["true"]),
    send=lambda: socket.socket().connect(("127.0.0.1", 9)),
)
for name, attempt in tries.items():
    try:
        attempt()
        print(name, "allowed")
    except PermissionError as error:
        print(name, "refused" if "asks" in str(error) else error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert found.pop("source") == found.pop("own") == "allowed"
    assert len(found) == 8 and set(found.values()) == {"refused"}


def test_nothing_is_imported_from_where_the_user_happens_to_be(tmp_path, monkeypatch):
    path = files.write_png(tmp_path / "a.png", image(dtype=np.uint8))
    hostile.write(tmp_path / "json.py", b"raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    (found,) = parse(path, given=GIVEN)
    assert np.array_equal(found.intensity, image(dtype=np.uint8))


def test_names_of_all_kinds_are_passed_on(tmp_path):
    path = files.write_png(tmp_path / "ä ' \" $(touch x);\n-.png", image(dtype=np.uint8))
    assert len(parse(path, given=GIVEN)) == 1


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (-signal.SIGSEGV, "makes its reader break off; it is damaged: copy it again, or export it as TIFF"),
        (1, "makes its reader break off"),
        (0, "makes its reader break off"),
        (-signal.SIGKILL, "takes more memory than this computer has free"),
        (-signal.SIGXCPU, "takes more than 60 s to read"),
        (parse_worker.NO_ROOM, "is full; free some space, or choose another place with TMPDIR"),
    ],
)
def test_however_a_worker_ends_it_is_one_line(tmp_path, status, message):
    with pytest.raises(BadInputError, match=message):
        parsing._collect(tmp_path, status, Limits(), "a.png")


def test_a_worker_is_not_trusted(tmp_path):
    good = {
        "file": "0.npy", "shape": [72, 96], "pixel_size_angstrom": 0.2, "energy_ev": None,
        "dose_per_angstrom2": None, "number": None, "notes": ["\x07", "a\x1b[31m\nb"],
        "scanned": False, "offset": 0.0, "gain": 1.0,
    }  # fmt: skip
    marker = tmp_path / "it ran"

    def collect(**changes):
        np.save(tmp_path / "0.npy", image())
        np.save(tmp_path / "1.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
        (tmp_path / "answer.json").write_text(json.dumps({"images": [good | changes]}))
        return parsing._collect(tmp_path, 0, Limits(), "a.png")

    (found,) = collect()
    assert found.notes == ("\\x07", "a\\x1b[31m b") and found.name == "a.png"
    assert np.array_equal(found.intensity, image())
    for changes in (
        {"file": "1.npy"}, {"file": "2.npy"}, {"file": "/etc/passwd"}, {"shape": [72, 97]}, {"shape": [1]}, {"shape": "no"},
        {"shape": [16384, 10**9]}, {"notes": None}, {"pixel_size_angstrom": "0.2"}, {"pixel_size_angstrom": None}, {"number": "x"}, {"gain": None},
    ):  # fmt: skip
        with pytest.raises(BadInputError, match="makes its reader break off"):
            collect(**changes)
    with pytest.raises(BadInputError, match="its pixel size of 50 Å is not that of"):
        collect(pixel_size_angstrom=50.0)
    assert collect(energy_ev="3e5")[0].energy_ev is None
    (tmp_path / "answer.json").write_text("[]")
    with pytest.raises(BadInputError, match="makes its reader break off"):
        parsing._collect(tmp_path, 0, Limits(), "a.png")
    (tmp_path / "answer.json").write_text(json.dumps({"refusal": "a\nb"}))
    with pytest.raises(BadInputError, match="^a\nb$"):
        parsing._collect(tmp_path, 0, Limits(), "a.png")
    assert not marker.exists()


def test_an_interruption_ends_the_worker(tmp_path, monkeypatch):
    path = files.write_png(tmp_path / "a.png", image(dtype=np.uint8))
    started = []

    class Interrupted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

        def wait(self, timeout=None):
            if timeout is not None:
                raise KeyboardInterrupt
            return super().wait()

    monkeypatch.setattr(parsing.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        parse(path)
    assert started[0].returncode == -signal.SIGKILL


def test_a_full_disk_is_told_from_a_bad_file(tmp_path, monkeypatch):
    path = files.write_png(tmp_path / "a.png", image(dtype=np.uint8))

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parse_worker.np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        parse_worker.answer(path, None, tmp_path, GIVEN)
