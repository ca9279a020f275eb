"""A run over many micrographs of known content: rows, faults, what is skipped, and what is shown."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest
import tifffile
import torch
from PIL import Image

import passband
from passband.base.errors import BadInputError
from passband.files.atomic import locked, temporary_beside
from passband.models import network as module
from passband.sessions import image_job
from support import made
from support.shell import run_here


class Bright(torch.nn.Module):
    """Logit is how far the mean of 3 × 3 pixels of a normalised tile lies above 1."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return 8 * (torch.nn.functional.avg_pool2d(images, 3, 1, 1, count_include_pad=False) - 1.0)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Bright)
    return made.bare_model(tmp_path / "made")


def shot(path, centres=((50, 50),), *, radius=10.0, pixel=0.8, side=128, seed=0):
    """Write bright discs [Å] on noise, as a TIFF with its scale."""
    y, x = np.mgrid[:side, :side] * pixel
    image = 100 + np.random.default_rng(seed).normal(0, 8, (side, side))
    for cx, cy in centres:
        image += 60 * ((x - cx) ** 2 + (y - cy) ** 2 <= radius**2)
    path.parent.mkdir(parents=True, exist_ok=True)
    scale = {"resolution": (10 / pixel, 10 / pixel), "metadata": {"unit": "nm"}}
    tifffile.imwrite(path, image.astype(np.float32), imagej=True, **scale)
    return path


@pytest.fixture
def session(tmp_path):
    """Two particles, one, one of the same name on other pixels, and a file that is none."""
    folder = tmp_path / "session"
    shot(folder / "a_2.tif", [(30, 30), (70, 70)])
    shot(folder / "a_10.tif", [(50, 50)], radius=14.0, seed=1)
    shot(folder / "later" / "a_2.tif", [(25, 25)], pixel=0.4, radius=8.0, seed=2)
    (folder / "broken.tif").write_bytes(b"II*\x00 and no more")
    return folder


@pytest.fixture
def worked(monkeypatch):
    """Names of the images that are worked on, not skipped."""
    names, analyse = [], image_job.analyse
    monkeypatch.setattr(image_job, "analyse", lambda s, m, p: names.append(m.name) or analyse(s, m, p))
    return names


def run(model, images, tmp_path, **options):
    return passband.segment_folder(model, images, folder=tmp_path / "out", workers=1, **options)


def test_the_table_is_what_the_images_show(model, session, tmp_path):
    result = run(model, session, tmp_path, energy_ev=300e3)
    table = result.table
    assert [os.path.relpath(file, session) for file in table["file"]] == [
        "a_2.tif",
        "a_10.tif",
        "broken.tif",
        "later/a_2.tif",
    ]
    assert table["particles"].to_list() == [2, 1, None, 1]
    for diameter, true in zip(table["mean_diameter_angstrom"], (20, 28, None, 16), strict=True):
        assert diameter == (true if true is None else pytest.approx(true, abs=2))
    assert table["diameter_deviation_angstrom"][0] < 1 and table["diameter_deviation_angstrom"][1] is None
    assert table["pixel_size_angstrom"].to_list() == [pytest.approx(0.8)] * 2 + [None, pytest.approx(0.4)]
    assert (result.failed, result.answer, result.all_well) == (1, None, False)
    assert result.notes == ("different pixel sizes: 0.8 Å (2), 0.4 Å (1)",)
    # Parquet is the table; the CSV says the same.
    folder = tmp_path / "out"
    assert pl.read_parquet(folder / "summary.parquet").equals(table)
    assert (
        pl.read_csv(folder / "summary.csv", schema=table.schema)["particles"].to_list() == table["particles"].to_list()
    )
    # Each row's files are where it says, and images of one name do not replace each other.
    masks = [tifffile.imread(folder / f"{start}_mask.tif") > 0 for start in table["results"].drop_nulls()]
    assert [mask.shape for mask in masks] == [(128, 128)] * 3
    assert [float(m.mean()) for m in masks] == pytest.approx(table["particle_share"].drop_nulls().to_list())
    assert result.images[2].keys() == {"image", "file", "error"} and "broken.tif" in result.images[2]["error"]
    assert json.loads(json.dumps(result.to_dict()))["failed"] == 1


def test_what_is_done_is_skipped_by_content(model, session, tmp_path, worked):
    first = run(model, session, tmp_path)
    assert sorted(worked) == ["a_10.tif", "a_2.tif", "a_2.tif"]
    worked.clear()
    again = run(model, session, tmp_path)
    assert not worked and again.finished_before == 3 and again.table.equals(first.table)
    # Neither name nor time counts,
    (session / "a_10.tif").rename(session / "b.tif")
    os.utime(session / "a_2.tif", (1, 1))
    renamed = run(model, session, tmp_path)
    assert not worked and [image["image"] for image in renamed.images] == ["a_2.tif", "b.tif", "broken.tif", "a_2.tif"]
    # but content does, and so do the settings, the results and the model.
    shot(session / "b.tif", [(40, 40), (80, 80), (40, 80)])
    assert run(model, session, tmp_path).table["particles"].to_list() == [2, 3, None, 1] and worked == ["b.tif"]
    worked.clear()
    (tmp_path / "out" / "later" / "a_2_overlay.png").unlink()
    run(model, session, tmp_path)
    assert worked == ["a_2.tif"] and (tmp_path / "out" / "later" / "a_2_overlay.png").is_file()
    worked.clear()
    run(model, session / "b.tif", tmp_path, dose_per_angstrom2=100.0)
    other = made.bare_model(tmp_path / "other", name="other")
    run(other, session / "b.tif", tmp_path)
    assert worked == ["b.tif"] * 2 and (tmp_path / "out" / "other" / "b_mask.tif").is_file()


def test_a_new_file_under_a_former_name(model, session, tmp_path, worked):
    first = run(model, session, tmp_path)
    (session / "a_10.tif").rename(session / "z.tif")
    shot(session / "a_10.tif", [], seed=5)
    worked.clear()
    result = run(model, session, tmp_path)
    # The results of the renamed file are written anew under its name: the other's are where they were.
    assert sorted(worked) == ["a_10.tif", "z.tif"]
    assert [(row["results"], row["particles"]) for row in result.table.iter_rows(named=True)] == [
        ("a_2", 2), ("a_10", 0), (None, None), ("later/a_2", 1), ("z", 1)
    ]  # fmt: skip
    marked = [(tifffile.imread(tmp_path / "out" / f"{name}_mask.tif") > 0).mean() for name in ("z", "a_10")]
    assert marked[0] > 0.04 and marked[1] < 0.01
    # Where only the other is given, the renamed file's results are missed the next time.
    (session / "z.tif").rename(session / "y.tif")
    shot(session / "z.tif", [], seed=6)
    run(model, session / "z.tif", tmp_path)
    worked.clear()
    assert run(model, session, tmp_path).table["particles"].to_list() == [2, 0, None, 1, 1, 0] and worked == ["y.tif"]
    assert first.table["results"][1] == "a_10"


def test_copies_are_worked_on_once(model, tmp_path, worked):
    shot(tmp_path / "in" / "x" / "a.tif")
    (tmp_path / "in" / "y").mkdir()
    shutil.copy(tmp_path / "in" / "x" / "a.tif", tmp_path / "in" / "y" / "b.tif")
    result = run(model, tmp_path / "in", tmp_path)
    assert worked == ["a.tif"] and result.table["results"].n_unique() == 1
    assert [image["image"] for image in result.images] == ["a.tif", "b.tif"]


def test_results_in_the_folder_of_the_images_are_no_input(model, session, worked):
    cut_off = temporary_beside(session / "a_2_mask.tif", ".tif")
    cut_off.write_bytes(b"half a mask")
    (session / ".mine.tmp").write_text("of another program")
    for _ in range(2):
        result = passband.segment_folder(model, session, folder=session, workers=1)
        assert len(result) == 4
    assert len(worked) == 3 and not cut_off.exists() and (session / ".mine.tmp").exists()


def test_a_file_that_grows_is_a_row_until_it_is_complete(model, session, tmp_path, monkeypatch):
    read, grown = image_job.read_micrographs, session / "a_10.tif"

    def slow(path, **given):
        images = read(path, **given)
        if path == grown:
            with path.open("ab") as file:
                file.write(b"more")
        return images

    monkeypatch.setattr(image_job, "read_micrographs", slow)
    faults = run(model, session, tmp_path).table["fault"].to_list()
    assert "a_10.tif: changed while it was read; run again when it is complete" in faults[1] and not faults[0]
    monkeypatch.undo()
    monkeypatch.setattr(module, "Network", Bright)
    assert run(model, session, tmp_path).table["fault"].to_list()[:2] == [None, None]


def test_a_full_disk_ends_the_run_and_keeps_what_is_done(model, session, tmp_path, monkeypatch, worked):
    write, written = image_job.outputs.write_outputs, []

    def filling(*arguments):
        written.append(arguments)
        if len(written) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    with monkeypatch.context() as full, pytest.raises(BadInputError, match="the disk is full .*finished work is kept"):
        full.setattr(image_job.outputs, "write_outputs", filling)
        run(model, session, tmp_path)
    worked.clear()
    assert run(model, session, tmp_path).finished_before == 1 and len(worked) == 2


def test_an_unforeseen_fault_is_a_row(model, session, tmp_path, monkeypatch):
    analyse = image_job.analyse

    def odd(settings, micrograph, progress):
        if micrograph.name == "a_10.tif":
            raise ZeroDivisionError("never thought of")
        return analyse(settings, micrograph, progress)

    monkeypatch.setattr(image_job, "analyse", odd)
    result = run(model, session, tmp_path)
    assert result.images[1]["error"] == "ZeroDivisionError: never thought of" and result.failed == 2


def test_no_particle_and_a_thousand(model, tmp_path):
    shot(tmp_path / "in" / "none.tif", [])
    places = [(12 + 20 * i, 12 + 20 * j) for i in range(32) for j in range(32)]
    shot(tmp_path / "in" / "many.tif", places, radius=6.0, side=832)
    result = run(model, tmp_path / "in", tmp_path)
    many, none = result.table.iter_rows(named=True)
    assert many["particles"] == 1024 and many["mean_diameter_angstrom"] == pytest.approx(12, abs=2)
    assert none["mean_diameter_angstrom"] is None and none["fault"] is None
    assert "1024 particles" in str(result)


def test_a_stack_is_a_row_an_image(model, tmp_path):
    parts = [tifffile.imread(shot(tmp_path / "p.tif", [(30, 30), (70, 70)][:n], seed=n)) for n in (1, 2)]
    scale = {"resolution": (12.5, 12.5), "metadata": {"unit": "nm", "axes": "TYX"}}
    tifffile.imwrite(tmp_path / "in.tif", np.stack(parts), imagej=True, **scale)
    result = run(model, tmp_path / "in.tif", tmp_path, frames="each")
    assert result.table["frame"].to_list() == [0, 1] and result.table["particles"].to_list() == [1, 2]
    assert [image["image"] for image in result.images] == ["in.tif#0", "in.tif#1"]


def test_a_movie_is_said_to_be_summed_without_alignment(model, tmp_path):
    frames = [tifffile.imread(shot(tmp_path / "p.tif", [(30, 30)], seed=n)) for n in range(2)]
    scale = {"resolution": (12.5, 12.5), "metadata": {"unit": "nm", "axes": "TYX"}}
    movie = tmp_path / "movie.tif"
    tifffile.imwrite(movie, np.stack(frames), imagej=True, **scale)
    code, out, err = run_here("segment", model.folder, movie, "--out", tmp_path / "one", "--json")
    assert code == 0 and "movie.tif: its frames are summed without alignment; passband movie aligns them first" in err
    assert "a movie of 2 images, summed without alignment" in json.loads(out)["images"][0]["found"]
    result = run(model, [movie, shot(tmp_path / "b.tif")], tmp_path)
    assert any(note.startswith("1 of 2 are movies, summed without alignment") for note in result.notes)
    assert not any("movies" in note for note in run(model, shot(tmp_path / "b.tif"), tmp_path).notes)


def test_exit_codes_and_one_object_on_stdout(model, session, tmp_path):
    words = ("segment", model.folder, session, "--out", tmp_path / "out", "--workers", 1)
    code, out, err = run_here(*words, "--json")
    answer = json.loads(out)
    assert code == 1 and answer["failed"] == 1 and "images: 4 of 4" in err
    assert [sorted(i)[:2] for i in answer["images"] if "error" in i] == [["error", "file"]]
    assert answer["images"][0]["particles"] == 2 and answer["images"][0]["files"]["mask"].endswith("a_2_mask.tif")
    (session / "broken.tif").unlink()
    code, out, _ = run_here(*words)
    assert code == 0 and "3 images: 4 particles" in out and "a_10.tif: 1 particle, 2." in out
    # Where nothing can be used there is no answer.
    shot(tmp_path / "coarse" / "a.tif", pixel=2.0)
    shot(tmp_path / "coarse" / "b.tif", pixel=2.0)
    code, out, err = run_here("segment", model.folder, tmp_path / "coarse", "--out", tmp_path / "out", "--workers", 1)
    assert (code, out) == (
        2,
        "",
    ) and "no image can be used: a.tif: its pixel size of 2 Å is outside" in err.splitlines()[-1]
    assert err.splitlines()[-1].endswith("(and 1 more)")
    code, _, err = run_here("check", model.folder, session)
    assert code == 2 and "has not been scored" in err


def test_faults_name_parameters_as_the_reader_gives_them(model, session, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8)).save(session / "p.png")
    result = run(model, session, tmp_path)
    assert "pixel_size_angstrom" in result.images[4]["error"]
    _, out, _ = run_here("segment", model.folder, session, "--out", tmp_path / "out", "--json", "--workers", 1)
    assert "--pixel-size" in json.loads(out)["images"][4]["error"]


def test_odd_names_and_odd_files(model, session, tmp_path):
    shutil.copy(session / "a_2.tif", session / os.fsdecode(b"\xff\x1b[1m.tif"))
    (session / "loop.tif").symlink_to(session / "loop.tif")
    (session / "gone.tif").symlink_to(session / "nowhere.tif")
    os.mkfifo(session / "pipe.tif")
    shot(session / "mine.tif").chmod(0)
    result = run(model, session, tmp_path)
    assert len(result) == 9 and str(result).isprintable() is False and "\x1b" not in str(result)
    json.dumps(result.to_dict()).encode()
    faults = {Path(row["file"]).name: row["fault"] for row in result.table.iter_rows(named=True) if row["fault"]}
    assert {"broken.tif", "gone.tif", "loop.tif", "pipe.tif"} <= set(faults) and all(
        "\n" not in f for f in faults.values()
    )


def test_two_runs_in_one_folder(model, session, tmp_path):
    with (
        locked(tmp_path / "out" / ".lock", wait=False),
        pytest.raises(BadInputError, match="another run writes its results here"),
    ):
        run(model, session, tmp_path)


class Links(HTMLParser):
    """Collects what a page shows."""

    def __init__(self, text):
        super().__init__()
        self.links, self.images, self.tags = [], 0, []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        self.images += tag == "img"


def test_page_and_sheet_show_every_image(model, session, tmp_path):
    (session / "a_10.tif").rename(session / "<b>&#10.tif")
    result = run(model, session, tmp_path)
    page = Links((tmp_path / "out" / "summary.html").read_text(encoding="utf-8"))
    assert page.images == 3 and page.tags.count("figure") == 4 and "b" not in page.tags
    assert all((tmp_path / "out" / unquote(link)).is_file() for link in page.links) and len(page.links) == 3
    assert Links(result._repr_html_()).images == 3
    with Image.open(tmp_path / "out" / "contact_sheet.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    # Outlines are orange, and four images are two in a row.
    assert ((pixels[..., 0] - pixels[..., 2]) > 120).sum() > 500 and pixels.shape[1] == 2 * 340 + 20


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    for i in range(6):
        shot(tmp_path / "in" / f"{i}.tif", side=512, pixel=0.4, seed=i)
    words = [
        sys.executable,
        "-m",
        "passband",
        "estimate",
        "in",
        "--energy",
        "300kV",
        "--out",
        "out",
        "--workers",
        "2",
        "--json",
    ]
    finished = tmp_path / "out" / "finished"
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 120
        while not list(finished.glob("session-*/done.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in finished.glob("session-*/done.json")}
    assert 1 <= len(done) < 6
    time.sleep(1.5)  # Its workers end by themselves.
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
    answer = json.loads(ended.stdout)
    assert answer["finished_before"] >= len(done) and len(answer["images"]) == 6 and not answer["failed"]
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())
    assert not list(finished.glob(".*")) and len(list(finished.iterdir())) == 6


@pytest.mark.slow
def test_a_small_image_has_particles_and_no_verdict(tmp_path):
    shot(tmp_path / "in" / "a.tif", side=128, pixel=0.4)
    result = passband.segment_folder("au-300kv", tmp_path / "in", folder=tmp_path / "out", workers=1, energy_ev=300e3)
    row = result.table.row(0, named=True)
    assert (row["verdict"], row["fault"]) == ("cannot say", None) and "a verdict needs" in row["reasons"]
    assert row["particles"] is not None and not result.all_well and result.images[0]["verdict"] is None
