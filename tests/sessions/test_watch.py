"""A live session: nothing is lost, nothing is done twice, whatever files do; and what it leaves is what a run over the folder leaves."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

import passband
from passband.base.errors import BadInputError, JobFailedError
from passband.execution.base import Serial
from passband.files.atomic import locked
from passband.sessions import image_job, watch
from passband.sessions.image_files import find_images
from passband.sessions.image_job import Findings, Settings
from passband.sessions.image_run import run_images
from support import watching
from support.shell import run_here


class Quiet:
    def stage(self, name, total, done):
        return lambda share: None

    def note(self, text):
        pass


@pytest.fixture
def worked(monkeypatch):
    """Pixel sizes of the images that are worked on; the network is a stub."""
    watching.stub(monkeypatch.setattr)
    monkeypatch.setattr(watch, "_EVERY", 0.05)
    sizes = []
    monkeypatch.setattr(
        image_job, "analyse", lambda s, m, p: sizes.append(m.pixel_size_angstrom) or watching.stubbed(s, m, p)
    )
    return sizes


class Microscope(threading.Thread):
    """Writes, cuts, continues, renames, copies and deletes files, as its seed says; `left` is which content each has in the end."""

    def __init__(self, folder, scratch, count):
        super().__init__()
        self.folder, self.scratch, self.count, self.draw = folder, scratch, count, random.Random(0)
        self.left, self.kinds = {}, Counter()

    def run(self):
        later = []
        for number in range(self.count):
            content = watching.content(number, self.scratch)
            path = self.folder / self.draw.choice(("", "grid_a", "grid_b/hole")) / f"shot_{number}.tif"
            kind = self.draw.choice(("whole",) * 6 + ("cut", "cut", "slow", "renamed", "vanishing", "copied", "junk"))
            self.kinds[kind] += 1
            path.parent.mkdir(parents=True, exist_ok=True)
            self.left[path] = number
            if kind in ("cut", "slow"):
                # A cut file rests for long enough to be taken for complete.
                path.write_bytes(content[: len(content) // 2])
                later.append((time.monotonic() + (0.6 if kind == "cut" else 0.1), self._continue, path, content))
            elif kind == "junk":
                path.write_bytes(b"II*\x00 and no more" + bytes([number % 256]))
                self.left[path] = None
            else:
                path.write_bytes(content)
            if kind in ("renamed", "vanishing", "copied"):
                act = {"renamed": self._rename, "vanishing": self._vanish, "copied": self._copy}[kind]
                later.append((time.monotonic() + self.draw.uniform(0, 0.8), act, path, content))
            later = self._due(later, time.monotonic())
            time.sleep(self.draw.uniform(0, 0.04))
        self._due(later, float("inf"))

    def _due(self, later, until):
        for when, act, *arguments in sorted(later, key=lambda entry: entry[0]):
            if when <= until:
                time.sleep(max(when - time.monotonic(), 0))
                act(*arguments)
        return [entry for entry in later if entry[0] > until]

    def _continue(self, path, content):
        with path.open("ab") as file:
            file.write(content[len(content) // 2 :])

    def _rename(self, path, content):
        self.left[path.with_stem(f"renamed_{path.stem}")] = self.left.pop(path)
        path.rename(path.with_stem(f"renamed_{path.stem}"))

    def _vanish(self, path, content):
        path.unlink()
        del self.left[path]

    def _copy(self, path, content):
        path.with_stem(f"copy_{path.stem}").write_bytes(content)
        self.left[path.with_stem(f"copy_{path.stem}")] = self.left[path]


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_none_lost_none_twice(tmp_path, worked, count):
    folder, out = tmp_path / "session", tmp_path / "session" / "out"
    folder.mkdir()
    (tmp_path / "scratch").mkdir()
    microscope = Microscope(folder, tmp_path / "scratch", count)
    microscope.start()
    with watching.watched(folder, out, idle=2.5) as session:
        images = list(session.images(Serial()))
        run = session.finish()
    microscope.join()
    assert all(
        microscope.kinds[kind] >= count // 40
        for kind in ("whole", "cut", "slow", "renamed", "vanishing", "copied", "junk")
    )
    # Each file that is there has one row, of its own content.
    sizes = dict(zip(map(Path, run.table["file"]), run.table["pixel_size_angstrom"], strict=True))
    assert len(run) == len(sizes) and sizes.keys() == microscope.left.keys()
    for path, number in microscope.left.items():
        assert sizes[path] == (None if number is None else pytest.approx(watching.pixel_of(number), abs=1e-5)), path
    assert run.failed == microscope.kinds["junk"]
    # Each content was worked on once, and told once for each copy; a renamed file is not told again.
    assert max(Counter(round(size, 4) for size in worked).values()) == 1
    told = Counter(image.row["pixel_size_angstrom"] for image in images if image.row["fault"] is None)
    copies = Counter(number for number in microscope.left.values() if number is not None)
    assert all(told[size] <= 2 for size in told)
    assert {size for size in told if told[size] == 2} <= {
        sizes[p] for p, n in microscope.left.items() if copies[n] == 2
    }
    assert Counter(image.row["file"] for image in images).most_common(1)[0][1] == 1
    # A run over the folder finds all finished, and the same table.
    worked.clear()
    again = run_images(Settings.of("estimate", out, None), find_images([folder], out), Serial(), Quiet())
    assert not worked and again.table.equals(run.table) and again.finished_before == len(copies)


def test_a_run_is_gone_on_with(tmp_path, worked):
    folder, out = tmp_path / "session", tmp_path / "out"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.tif").write_bytes(watching.content(number, tmp_path))
    run_images(Settings.of("estimate", out, None), find_images([folder], out), Serial(), Quiet())
    (folder / "3.tif").write_bytes(watching.content(3, tmp_path))
    worked.clear()
    with watching.watched(folder, out, idle=0.5) as session:
        told = [image.row["file"] for image in session.images(Serial())]
        run = session.finish()
    assert told == [str(folder / "3.tif")] and len(worked) == 1
    assert (len(run), run.finished_before) == (4, 3)


def test_a_changed_file_replaces_its_row_and_a_former_name_its_results(tmp_path, worked):
    folder, out = tmp_path / "session", tmp_path / "out"
    folder.mkdir()
    shot = folder / "a.tif"
    shot.write_bytes(watching.content(1, tmp_path))
    with watching.watched(folder, out, idle=1.0) as session:
        for image in session.images(Serial()):
            if image.row["pixel_size_angstrom"] == pytest.approx(watching.pixel_of(1)):
                shot.write_bytes(watching.content(2, tmp_path))
        run = session.finish()
    assert run.table["pixel_size_angstrom"].to_list() == [pytest.approx(watching.pixel_of(2))]
    assert len(worked) == 2


def test_the_bell_rings_when_the_answer_turns(tmp_path, worked, monkeypatch):
    folder, out = tmp_path / "session", tmp_path / "out"
    folder.mkdir()
    answers = ["yes", "no", "cannot say", "yes", "cannot say"]

    class Answered(Findings):
        def row(self):
            number = round((self.micrograph.pixel_size_angstrom - watching.pixel_of(0)) * 1000)
            return super().row() | {"verdict": answers[number], "advice": "go to +51 Å"}

    monkeypatch.setattr(image_job, "analyse", lambda s, m, p: Answered(m))
    for number in range(len(answers)):
        (folder / f"{number}.tif").write_bytes(watching.content(number, tmp_path))
    with watching.watched(folder, out, idle=0.5) as session:
        images = list(session.images(Serial()))
        session.finish()
    assert [image.turned for image in images] == [False, True, False, False, True]
    assert re.match(r"\d\d:\d\d:\d\d  1\.tif: no$", str(images[1])) and images[1].row["advice"] == "go to +51 Å"
    page = (out / "live.html").read_text(encoding="utf-8")
    assert "<b>cannot say</b> since" in page and "(1 image)" in page and "go to +51 Å" in page
    assert "location.reload" not in page and page.count('class="shot"') == 5 and "http" not in page


def test_a_fault_of_one_file_is_told_once_and_late(tmp_path, worked, monkeypatch):
    folder, out = tmp_path / "session", tmp_path / "out"
    folder.mkdir()
    (folder / "a.tif").write_bytes(watching.content(1, tmp_path))
    tries = []

    def failing(settings, micrograph, progress):
        tries.append(micrograph.name)
        raise JobFailedError("never works")

    monkeypatch.setattr(image_job, "analyse", failing)
    with watching.watched(folder, out, idle=2.5) as session:
        assert [image.row["fault"] for image in session.images(Serial())] == ["never works"]
        with pytest.raises(BadInputError, match="never works"):
            session.finish()
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("none",), "none: does not exist; give the folder that the microscope writes to"),
        (("a.tif",), "a.tif: is a file; give the folder"),
        (("session", "--out", "session"), "--out session: is the folder that is watched; choose another"),
        (("session", "--model", "a.tif"), "a.tif: is a file; import it as a model"),
        (("session", "--model", "nobody"), "nobody: no such model"),
        (("session",), "another run or watch writes its results here; wait for it or stop it, or choose another --out"),
        (("session", "--out", "free", "--until-idle", "0.1"), "session: no micrograph has arrived"),
    ],
)
def test_bad_input_is_one_line(call, tmp_path, words, message):
    (tmp_path / "session").mkdir()
    (tmp_path / "a.tif").touch()
    model = () if "--model" in words else ("--model", "au-300kv")
    with locked(tmp_path / "segmented" / ".lock", wait=False):
        code, out, error = call("watch", *words, *model)
    assert (code, out) == (2, "") and message in error.splitlines()[-1]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path):
    folder, out = tmp_path / "session", tmp_path / "out"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.tif").write_bytes(watching.content(number, tmp_path))
    words = [sys.executable, "-m", "support.watching", folder, out, "3"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
    ended = subprocess.run(words, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    steps = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [step["code"] for step in steps] == [-signal.SIGKILL] * 3 + [0]
    # What was finished stays as it is, and is not told again.
    done = [step["done"] for step in steps]
    assert all(before.items() <= after.items() for before, after in pairwise(done)) and len(done[0]) < 6
    assert len(done[-1]) == 15 and steps[-1]["lines"] == 15 - len(done[-2])
    table = pl.read_parquet(out / "summary.parquet")
    expected = [watching.pixel_of(number) for number in [*range(12), 100, 101, 102]]
    assert sorted(table["pixel_size_angstrom"]) == pytest.approx(expected, abs=1e-5)
    assert not table["fault"].drop_nulls().len() and not list(out.glob("finished/.*"))


def test_with_a_true_model_from_the_command_line(tmp_path):
    """What watch leaves is what segment leaves; Ctrl-C ends it in order."""
    folder = tmp_path / "session"
    folder.mkdir()
    (folder / "a.tif").write_bytes(watching.content(200, tmp_path, side=160))
    words = [sys.executable, "-m", "passband", "watch", "session", "--model", "au-300kv", "--energy", "300kV", "--json"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        for line in child.stderr:
            if "a.tif" in line:
                break
        child.send_signal(signal.SIGINT)
        out, error = child.communicate()
    answer = json.loads(out)
    assert child.returncode == 1 and "stopped; writing the last results" in error
    assert answer["answer"] == "cannot say" and Path(tmp_path / answer["live_page"]).is_file()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        code, out, _ = run_here("segment", "au-300kv", "session", "--energy", "300kV", "--json", "--workers", 1)
    again = json.loads(out)
    assert code == 1 and again["finished_before"] == 1 and again["images"] == answer["images"]
    at_rest = {"folder": tmp_path / "segmented", "energy_ev": 300e3, "until_idle_seconds": 0.1}
    assert not list(passband.watch("au-300kv", folder, **at_rest))
