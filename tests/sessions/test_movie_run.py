"""A movie of known motion, dose and growth: what is aligned, followed, left out and kept."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tifffile
import torch
from scipy import ndimage

import passband
from passband.base.errors import BadInputError
from passband.models import network as module
from passband.sessions import movie_job
from support import made
from support.shell import run_here

PIXEL, SIDE, FRAMES, DOSE = 0.8, 112, 12, 40.0
#: Drift of the specimen from frame to frame, down and to the right [pixels].
STEP = np.array([0.7, -0.4])


class Bright(torch.nn.Module):
    """Logit is how far the mean of 11 × 11 pixels of a normalised tile lies above 1.1."""

    def __init__(self, model):
        super().__init__()

    def forward(self, images):
        return 8 * (torch.nn.functional.avg_pool2d(images, 11, 1, 5, count_include_pad=False) - 1.1)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Network", Bright)
    # One tile, so that film alone is not taken for particles.
    return made.bare_model(tmp_path / "made", field_pixels=128)


def frame(number, rng, *, drift=STEP):
    """A film with two discs: one grows from 14 to 18 Å of radius, the other moves by 6 Å to the right over the film."""
    film = ndimage.zoom(np.random.default_rng(5).normal(size=(60, 60)), 4, order=3)[60 : 60 + SIDE, 60 : 60 + SIDE]
    y, x = np.mgrid[:SIDE, :SIDE]
    image = 1 + 0.12 * ndimage.shift(film, drift * number, order=3, mode="mirror")
    part = number / (FRAMES - 1)
    for row, column, radius in ((35, 40, 14 + 4 * part), (70, 60 + 6 * part / PIXEL, 14)):
        distance = np.hypot(y - row - drift[0] * number, x - column - drift[1] * number) * PIXEL
        image += 0.5 / (1 + np.exp(2 * (distance - radius)))
    return rng.poisson(np.maximum(image, 0) * DOSE * PIXEL**2)


@pytest.fixture
def shot(tmp_path):
    """Write a movie whose frame 5 is blank."""

    def write(name="movie.tif", count=FRAMES, **about):
        rng = np.random.default_rng(1)
        frames = np.array([frame(i, rng) for i in range(count)], dtype=np.uint16)
        if count > 5:
            frames[5] = 0
        scale = {"resolution": (10 / PIXEL, 10 / PIXEL), "metadata": {"unit": "nm", "axes": "TYX"} | about}
        tifffile.imwrite(tmp_path / name, frames, imagej=True, **scale)
        return tmp_path / name

    return write


def run(model, path, tmp_path, **options):
    values = {"dose_per_angstrom2": DOSE, "workers": 1} | options
    return passband.movie(model, path, folder=tmp_path / "out", **values)


def test_drift_sum_and_tracks_are_those_of_the_movie(model, shot, tmp_path):
    found = run(model, shot(finterval=0.5), tmp_path)
    frames, tracks = found.frames, found.tracks
    places = frames.filter(pl.col("used")).select("frame", "y_angstrom", "x_angstrom").to_numpy()
    error = places[:, 1:] - places[:, :1] * STEP * PIXEL
    # The particle that moves by itself takes a share of the correlation.
    assert np.sqrt(np.mean((error - error.mean(0)) ** 2)) < 0.2 * PIXEL
    speed = float(np.hypot(*STEP)) * PIXEL / 0.5
    assert found.drift["angstrom_per_s"] == pytest.approx(speed, rel=0.1)
    # The blank frame is left out, with the reason.
    assert frames.filter(~pl.col("used"))["frame", "reason"].rows() == [(5, "blank")]
    assert "leave out 5: blank" in str(found) and "use frames 0–4, 6–11" in str(found)
    # The sum has the dose of its frames, and every reader finds it.
    [image] = passband.read_micrographs(found.folder / "aligned_sum.tif")
    assert image.dose_per_angstrom2 == pytest.approx(
        DOSE * (FRAMES - 1)
    ) and image.pixel_size_angstrom == pytest.approx(PIXEL)
    lost = np.abs(STEP) * (FRAMES - 1)
    assert image.intensity.shape == pytest.approx(tuple(SIDE - lost), abs=1)
    # Three frames reach 100 e/Å²: three groups, in which both particles keep their number.
    assert "4 frames are segmented together, to reach 100 e/Å²" in str(found)
    assert found.groups["frame", "last_frame", "particles"].rows() == [(0, 3, 2), (4, 8, 2), (9, 11, 2)]
    assert tracks.group_by("track").len()["len"].to_list() == [3, 3]
    for number, grows, moves in found.particles["track", "growth_angstrom_per_frame", "moved_angstrom"].rows():
        first = tracks.filter((pl.col("track") == number) & (pl.col("frame") == 0))
        growing = first["y_angstrom"][0] < 45
        # Over the eight or nine frames between the middles of the first and the last group.
        assert grows == pytest.approx(8 / (FRAMES - 1) if growing else 0, abs=0.25)
        assert moves == pytest.approx(0 if growing else 6 * 8.5 / (FRAMES - 1), abs=1.0)
    assert pl.read_parquet(found.folder / "tracks.parquet").equals(tracks)
    said = json.loads(json.dumps(found.to_dict()))
    assert said == json.loads((found.folder / "movie.json").read_text())
    assert all(Path(file).is_file() for file in said["files"].values())
    assert "<img" in found._repr_html_() and "aligned sum of 11 of 12" in (found.folder / "movie.html").read_text()


def test_what_is_finished_is_kept(model, shot, tmp_path, monkeypatch):
    path = shot()
    first = run(model, path, tmp_path)
    assert not list((tmp_path / "out").glob(".frames*"))
    worked, analyse = [], movie_job.analyse
    monkeypatch.setattr(movie_job, "analyse", lambda s, m, p: worked.append(m.name) or analyse(s, m, p))
    again = run(model, path, tmp_path)
    assert not worked and again.tracks.equals(first.tracks) and again.to_dict() == first.to_dict()
    # One group is missing: only it is done again.
    done = sorted((tmp_path / "out" / "finished").glob("group-*"))
    shutil.rmtree(
        next(d for d in done if json.loads((d / "done.json").read_text())["content"]["group"] == [4, 6, 7, 8])
    )
    assert run(model, path, tmp_path).tracks.equals(first.tracks) and worked == ["movie.tif#4"]
    # The dose of a frame changes the groups.
    worked.clear()
    assert run(model, path, tmp_path, dose_per_angstrom2=200.0).groups["frame"].to_list() == [
        0,
        1,
        2,
        3,
        4,
        6,
        7,
        8,
        9,
        10,
        11,
    ]
    assert len(worked) == FRAMES
    with pytest.raises(BadInputError, match=r"has results of another movie, movie\.tif; choose another folder"):
        run(model, shot("other.tif", 8), tmp_path)


def test_a_part_of_a_movie(model, shot, tmp_path):
    found = run(model, shot(), tmp_path, frames=(6, None), frame_seconds=2.0)
    assert found.frames["frame"].to_list() == list(range(6, 12)) and found.frames["time_s"][1] == 2.0
    assert found.groups["frame"].to_list() == [6, 9]


def test_the_dose_that_the_noise_shows_chooses_the_groups(model, shot, tmp_path):
    found = run(model, shot(), tmp_path, dose_per_angstrom2=None)
    assert len(found.groups) == 3 and found.groups["dose_per_angstrom2"].null_count() == 3
    note = next(n for n in found.notes if n.startswith("the noise is that of"))
    assert float(note.split()[5]) == pytest.approx(DOSE, rel=0.15)


def test_bad_input_is_one_line(model, tmp_path, shot):
    def line(path, *options):
        code, out, error = run_here("movie", model.folder, path, "--out", tmp_path / "out", "--workers", "1", *options)
        assert code == 2 and out == ""
        return error.strip().splitlines()[-1]

    frames = tifffile.imread(shot())
    scale = {"resolution": (10 / PIXEL, 10 / PIXEL), "metadata": {"unit": "nm"}}
    assert "movie.tif: has frames 0 to 11, and --frames 5 to 12 are asked for; give" in line(shot(), "--frames", "5-12")
    assert "--frames 5: is no part of a movie; write" in line(shot(), "--frames", "5")
    tifffile.imwrite(tmp_path / "one.tif", frames[0], imagej=True, **scale)
    assert "one.tif: holds one image, and no movie; segment and check take it" in line(tmp_path / "one.tif")
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        for image in (frames[0], frames[1, :100]):
            file.write(image, resolution=(2.5e8 / 2, 2.5e8 / 2), resolutionunit="CENTIMETER")
    assert "two.tif: its images differ in size (112 × 112 and 112 × 100 pixels)" in line(
        tmp_path / "two.tif", "--pixel-size", "0.8"
    )
    tifffile.imwrite(
        tmp_path / "focal.tif",
        frames,
        imagej=True,
        resolution=scale["resolution"],
        metadata={"unit": "nm", "axes": "ZYX"},
    )
    assert "focal.tif: counts its images along depth, as a focal or tilt series does" in line(tmp_path / "focal.tif")
    assert "--frame-time 0: has to be a positive number" in line(shot(), "--frame-time", "0")
    noise = np.random.default_rng(0).poisson(30, (9, 96, 96)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "noise.tif", noise, imagej=True, **scale)
    assert "noise.tif: its images show nothing in common" in line(tmp_path / "noise.tif")
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == [".lock"]


@pytest.mark.slow
def test_a_killed_run_goes_on(shot, tmp_path):
    # At this dose each frame is a group.
    words = [sys.executable, "-m", "passband", "movie", "au-300kv", shot(), "--energy", "300kV", "--dose", "200"]
    words += ["--out", "out", "--workers", "1", "--json"]
    finished = tmp_path / "out" / "finished"
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        deadline = time.monotonic() + 240
        while len(list(finished.glob("group-*/done.json"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    done = {path: path.stat().st_mtime_ns for path in finished.glob("*/done.json")}
    assert 3 <= sum(path.parent.name.startswith("group-") for path in done) < FRAMES - 1
    assert (
        any(path.parent.name.startswith("drift-") for path in done) and not (tmp_path / "out" / "movie.json").exists()
    )
    time.sleep(1.5)  # Its worker ends by itself.
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, check=False)
    answer = json.loads(ended.stdout)
    assert ended.returncode in (0, 1) and len(answer["groups"]) == FRAMES - 1
    assert all(path.stat().st_mtime_ns == written for path, written in done.items())
    # The groups and the sum, the drift; and nothing of the killed run.
    assert len(list(finished.iterdir())) == FRAMES + 1
    assert not [path for path in (tmp_path / "out").glob(".*") if path.name != ".lock"]
