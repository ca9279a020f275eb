import itertools
import os
import pickle
import time

import numpy as np
import pytest

from passband.base.errors import BadInputError, named
from passband.micrographs.formats import READERS
from passband.micrographs.sandbox import parse_worker
from passband.micrographs.sandbox.parsing import Limits, parse
from support import hostile
from support.files import image
from support.hostile import Payload

pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.usefixtures("closed", "own_temporary_folder"),
]


def refusal(path, tmp_path):
    """The line on a file, read in this process as the worker does."""
    folder = tmp_path / "answers"
    folder.mkdir(exist_ok=True)
    found = parse_worker.answer(path, None, folder)
    assert "images" not in found, found
    return named(found["refusal"])


@pytest.mark.parametrize("name", hostile.HOSTILE)
def test_a_hostile_file_is_one_line(tmp_path, name):
    make, message = hostile.HOSTILE[name]
    path = make(tmp_path)
    started = time.process_time()
    if message is None:
        # What is left of it is read: its own pixels, and no more of them than it claims.
        (found,) = parse(path, limits=Limits(memory_bytes=1024**3))
        assert found.intensity.shape == (72, 96)
        assert found.intensity.max() == 0 or np.array_equal(found.intensity, image())
    else:
        line = refusal(path, tmp_path)
        assert message in line and "\n" not in line and len(line) < 400
    assert time.process_time() - started < 10


@pytest.mark.parametrize("name", ["dm: nested", "tiff: claims", "hspy: huge"])
def test_a_hostile_file_takes_little_memory(tmp_path, name):
    make, message = hostile.HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(BadInputError) as raised:
        parse(make(tmp_path), limits=Limits(seconds=20, memory_bytes=700 * 1024**2))
    assert message in str(raised.value) and str(raised.value).startswith(f"{tmp_path}/a.")
    assert time.monotonic() - started < 20


def test_what_never_ends_is_ended(tmp_path):
    with pytest.raises(BadInputError, match=r"a.dm4: takes more than 2 s to read; it is damaged, or no micrograph"):
        parse(hostile.dm_endless(tmp_path), limits=Limits(seconds=2, memory_bytes=64 * 1024**3))


def test_what_does_not_fit_is_refused(tmp_path):
    """Half a gigabyte of zeros, in a file of a few kilobytes."""
    path = hostile.hspy(tmp_path, hostile.blank)
    assert path.stat().st_size < 100_000
    with pytest.raises(BadInputError, match=r"a.hspy: claims more data than there is memory for"):
        parse(path, limits=Limits(memory_bytes=400 * 1024**2))


def test_a_pickle_runs_under_no_name(tmp_path):
    marker = tmp_path / "it ran"
    for ending, protocol in itertools.product(READERS, range(6)):
        path = hostile.write(tmp_path / f"a{ending}", pickle.dumps(Payload(marker), protocol=protocol))
        line = refusal(path, tmp_path)
        if protocol >= 2:
            assert line.startswith("is a Python pickle, which may run programs and is never opened")
    array = np.array([Payload(marker)], dtype=object)
    np.save(tmp_path / "a.npy", array)
    hostile.write(tmp_path / "a.tif", (tmp_path / "a.npy").read_bytes())
    assert refusal(tmp_path / "a.tif", tmp_path).startswith("is a NumPy array, and not a TIFF image")
    with pytest.raises(BadInputError, match="is a NumPy array; load it in Python"):
        parse(tmp_path / "a.npy")
    # HyperSpy keeps what it cannot write otherwise as bytes; they stay bytes.
    content = np.void(pickle.dumps(Payload(marker)))
    path = hostile.hspy(tmp_path, lambda file, group: group["metadata"].attrs.__setitem__("_bs_function", content))
    assert len(parse_worker.answer(path, None, tmp_path)["images"]) == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", "is a JPEG, whose compression alters the contrast that is measured; export the original as TIFF"),
        ("a.emi", "is the description of a TIA series; give the .ser file beside it"),
        ("a.blo", "is scanning diffraction data, not an image"),
        ("a.xyz", "has an ending that is not known (.xyz); give one of .dm3, .dm4, .emd"),
        ("a", "has an ending that is not known (none)"),
    ],
)
def test_other_endings_are_refused_by_name(tmp_path, name, message):
    with pytest.raises(BadInputError) as raised:
        parse(hostile.write(tmp_path / name, b"x"))
    assert str(raised.value).startswith(f"{tmp_path / name}: {message}")


def test_what_is_no_file_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "folder.tif").mkdir()
    for name in ("pipe.tif", "folder.tif"):
        with pytest.raises(BadInputError, match="is a folder, pipe or device; give the path of a micrograph"):
            parse(tmp_path / name)
    for path in (tmp_path / "none.tif", tmp_path / "nul\0.tif", tmp_path / ("x" * 300)):
        with pytest.raises(BadInputError, match="cannot be read: .*give the path of a micrograph"):
            parse(path)
    large = tmp_path / "large.mrc"
    with large.open("wb") as file:
        file.truncate(3 * 10**9)
    with pytest.raises(BadInputError, match=r"has 3.0 GB; at most 2.1 GB can be read"):
        parse(large)
