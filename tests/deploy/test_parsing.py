import gc
import itertools
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
import zlib

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from deploy import files
from deploy.files import image
from passband.deploy import limited, parse_worker, parsing
from passband.deploy.formats import READERS
from passband.deploy.parsing import Limits, parse
from passband.errors import BadInputError

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True, scope="module")
def _closed():
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _own_temporary_folder(tmp_path, monkeypatch):
    """Whatever happens, nothing is left behind."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(parsing.tempfile, "tempdir", str(folder))
    yield
    assert not any(folder.iterdir())


def refusal(path, tmp_path):
    """The line on a file, read in this process as the worker does."""
    folder = tmp_path / "answers"
    folder.mkdir(exist_ok=True)
    found = parse_worker.answer(path, None, folder)
    assert "images" not in found, found
    return found["refusal"]


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


# Files that are not what they claim to be. Each writer gets a folder and returns a path.


def write(path, content):
    path.write_bytes(content)
    return path


def mrc_header(columns, rows, sections, mode=2):
    header = bytearray(1024)
    struct.pack_into("<4i", header, 0, columns, rows, sections, mode)
    return bytes(header)


def cut(path, share=0.6):
    return write(path, path.read_bytes()[: int(path.stat().st_size * share)])


def dm_claims(folder, **changes):
    """A DM3 file whose dimensions are not those of its pixels."""
    path = files.write_dm(folder / "a.dm3", image())
    content = path.read_bytes()
    for old, new in changes.values():
        assert content.count(struct.pack("<I", old)) >= 1
        content = content.replace(struct.pack("<I", old), struct.pack("<I", new))
    return write(path, content)


def dm_nested(folder, depth=20_000):
    group = b"\x14\x00\x01a\x00\x00\x00\x00\x00\x01"
    return write(folder / "a.dm3", struct.pack(">3i", 3, 0, 1) + b"\x00\x00\x00\x00\x00\x01" + group * depth)


def dm_endless(folder, elements=2**60):
    """An array of 2^60 empty structs, in 200 bytes."""
    info = struct.pack(">9q", 7, 20, 15, 0, 0, elements, 0, 0, 0)
    tag = b"\x15\x00\x01a" + struct.pack(">q", 0) + b"%%%%" + info
    return write(folder / "a.dm4", struct.pack(">iqi", 4, 0, 1) + b"\x00\x00" + struct.pack(">q", 1) + tag)


def tiff_claims(folder, width, height):
    """A TIFF with a strip of 64 KiB that unpacks to 64 MiB, and sides as claimed."""
    strip = zlib.compress(bytes(64 * 1024**2), 9)
    tags = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 273: 200, 277: 1, 278: height, 279: len(strip)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return write(folder / "a.tif", head.ljust(200, b"\0") + strip)


def tiff_of_another(folder):
    """OME metadata that point to a file beside it."""
    other = folder / "other.tif"
    tifffile.imwrite(other, image(seed=1))
    path = files.write_ome(folder / "a.tif", image())
    with tifffile.TiffFile(path) as file:
        text = file.ome_metadata
    block = '<TiffData IFD="0" PlaneCount="1"><UUID FileName="other.tif">urn:uuid:0</UUID></TiffData>'
    changed = text[: text.index("<TiffData")] + block + text[text.index("</Pixels>") :]
    tifffile.imwrite(path, image(), description=changed.encode(), metadata=None)
    return path


def hspy(folder, change):
    path = files.write_hspy(folder / "a.hspy", image())
    with h5py.File(path, "r+") as file:
        change(file, file["Experiments/specimen"])
    return path


def externally_linked(file, group):
    group["metadata/secret"] = h5py.ExternalLink("/etc/passwd", "/")


def softly_circular(file, group):
    group["metadata/again"] = h5py.SoftLink("/Experiments")


def circular(file, group):
    group["metadata/again"] = group


def dangling(file, group):
    group["metadata/nothing"] = h5py.SoftLink("/nowhere")


def externally_stored(file, group):
    del group["data"]
    group.create_dataset("data", (72, 96), "u1", external=[("/etc/passwd", 0, 72 * 96)])


def virtual(file, group):
    del group["data"]
    layout = h5py.VirtualLayout((72, 96), "f4")
    layout[:] = h5py.VirtualSource("/etc/other.h5", "data", (72, 96))
    group.create_virtual_dataset("data", layout)


def ragged(file, group):
    del group["data"]
    group.create_dataset("data", (72, 96), h5py.vlen_dtype(np.int32))


def huge(file, group):
    del group["data"]
    group.create_dataset("data", (100_000, 100_000), "f4", chunks=(1000, 1000))


def blank(file, group):
    del group["data"]
    group.create_dataset("data", (8192, 8192), "f8", chunks=(1024, 1024))


def long_list(file, group):
    group["metadata"].create_dataset("list", (10**10,), "f8", chunks=(1000,))


def deep(file, group):
    for _ in range(200):
        group = group.create_group("a")


def many(file, group):
    for i in range(5_001):
        group["metadata"][str(i)] = group["data"]


def animated(path):
    pages = [Image.fromarray(image(seed=i, dtype=np.uint8)) for i in range(2)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def png_claims(path, width, height):
    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    pixels = zlib.compress(bytes(10**6), 9)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return write(path, b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


HOSTILE = {
    "mrc: a header alone": (lambda d: write(d / "a.mrc", mrc_header(100_000, 100_000, 1)), "which take 40000001024 bytes, and has 1024"),
    "mrc: cut": (lambda d: cut(files.write_mrc(d / "a.mrc", image())), "is incomplete: copy it again"),
    "mrc: short": (lambda d: write(d / "a.mrc", b"\x60\0\0\0" * 20), "has 80 bytes, and an MRC header has 1024"),
    "mrc: no mode": (lambda d: write(d / "a.mrc", mrc_header(96, 72, 1, 99)), "does not begin as an MRC file does"),
    "mrc: text": (lambda d: write(d / "a.mrc", b"defocus 1000 A\n" * 100), "does not begin as an MRC file does"),
    "dm: cut": (lambda d: cut(files.write_dm(d / "a.dm4", image())), "cannot be read: "),
    "dm: cut tags": (lambda d: cut(files.write_dm(d / "a.dm3", image()), 0.001), "cannot be read: "),
    "dm: claims": (lambda d: dm_claims(d, a=(96, 100_000), b=(72, 100_000)), "claims images of 100000 x 100000 pixels"),
    "dm: claims some": (lambda d: dm_claims(d, a=(96, 960)), "cannot be read: "),
    "dm: nested": (dm_nested, "nests its contents too deeply"),
    "tiff: cut": (lambda d: cut(files.write_tiff(d / "a.tif", image(), unit=None)), "cannot be read: "),
    "tiff: claims": (lambda d: tiff_claims(d, 100_000, 100_000), "claims images of 100000 x 100000 pixels"),
    "tiff: bomb": (lambda d: tiff_claims(d, 96, 72), "cannot be read: "),
    "tiff: other file": (tiff_of_another, None),
    "png: cut": (lambda d: cut(files.write_png(d / "a.png", image(dtype=np.uint8))), "cannot be read: "),
    "png: claims": (lambda d: png_claims(d / "a.png", 100_000, 100_000), "claims images of 100000 x 100000 pixels"),
    "png: animated": (lambda d: animated(d / "a.png"), "is an animation of 2 images"),
    "hspy: cut": (lambda d: cut(files.write_hspy(d / "a.hspy", image())), "cannot be read: "),
    "hspy: external link": (lambda d: hspy(d, externally_linked), "leads to another file (/Experiments/specimen/metadata/secret)"),
    "hspy: soft circle": (lambda d: hspy(d, softly_circular), "holds a soft link to no data set"),
    "hspy: hard circle": (lambda d: hspy(d, circular), "nests groups in a circle or deeper than 50"),
    "hspy: dangling": (lambda d: hspy(d, dangling), "holds a soft link to no data set"),
    "hspy: external storage": (lambda d: hspy(d, externally_stored), "keeps its values in other files (/Experiments/specimen/data)"),
    "hspy: virtual": (lambda d: hspy(d, virtual), "keeps its values in other files (/Experiments/specimen/data)"),
    "hspy: ragged": (lambda d: hspy(d, ragged), "holds references, lists of varying length or objects"),
    "hspy: huge": (lambda d: hspy(d, huge), "claims 40.0 GB in Experiments/specimen/data; at most 2.1 GB"),
    "hspy: long list": (lambda d: hspy(d, long_list), "holds 10000000000 values in one row"),
    "hspy: deep": (lambda d: hspy(d, deep), "nests groups in a circle or deeper than 50"),
    "hspy: many": (lambda d: hspy(d, many), "holds more than 5000 objects"),
    "emd: neither": (lambda d: files.write_hspy(d / "a.emd", image()), "The file is not a supported EMD file"),
    "emd: text": (lambda d: write(d / "a.emd", b"hello, this is no file of the kind"), "does not begin as an EMD file does"),
    "empty": (lambda d: write(d / "a.tif", b""), "is empty"),
    "zip": (lambda d: write(d / "a.tif", b"PK\x03\x04" + bytes(100)), "is a ZIP archive, and not a TIFF image, as its ending says"),
    "jpeg": (lambda d: write(d / "a.png", b"\xff\xd8\xff\xe0" + bytes(100)), "is a JPEG image, and not a PNG image"),
    "gzip under mrc": (lambda d: write(d / "a.mrc", b"\x1f\x8b\x08\x08" + bytes(2000)), "is a gzip archive, and not an MRC file"),
    "tiff under mrc": (lambda d: write(d / "a.mrc", files.write_tiff(d / "a.tif", image()).read_bytes()), "is a TIFF image, and not"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_line(tmp_path, name):
    make, message = HOSTILE[name]
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
    make, message = HOSTILE[name]
    started = time.monotonic()
    with pytest.raises(BadInputError) as raised:
        parse(make(tmp_path), limits=Limits(seconds=20, memory_bytes=700 * 1024**2))
    assert message in str(raised.value) and str(raised.value).startswith(f"{tmp_path}/a.")
    assert time.monotonic() - started < 20


def test_what_never_ends_is_ended(tmp_path):
    with pytest.raises(BadInputError, match=r"a.dm4: takes more than 2 s to read; it is damaged, or no micrograph"):
        parse(dm_endless(tmp_path), limits=Limits(seconds=2, memory_bytes=64 * 1024**3))


def test_what_does_not_fit_is_refused(tmp_path):
    """Half a gigabyte of zeros, in a file of a few kilobytes."""
    path = hspy(tmp_path, blank)
    assert path.stat().st_size < 100_000
    with pytest.raises(BadInputError, match=r"a.hspy: claims more data than there is memory for"):
        parse(path, limits=Limits(memory_bytes=400 * 1024**2))


def test_a_pickle_runs_under_no_name(tmp_path):
    marker = tmp_path / "it ran"
    for ending, protocol in itertools.product(READERS, range(6)):
        path = write(tmp_path / f"a{ending}", pickle.dumps(Payload(marker), protocol=protocol))
        line = refusal(path, tmp_path)
        if protocol >= 2:
            assert line.startswith("is a Python pickle, which may run programs and is never opened")
    array = np.array([Payload(marker)], dtype=object)
    np.save(tmp_path / "a.npy", array)
    write(tmp_path / "a.tif", (tmp_path / "a.npy").read_bytes())
    assert refusal(tmp_path / "a.tif", tmp_path).startswith("is a NumPy array, and not a TIFF image")
    with pytest.raises(BadInputError, match="is a NumPy array; load it in Python"):
        parse(tmp_path / "a.npy")
    # HyperSpy keeps what it cannot write otherwise as bytes; they stay bytes.
    content = np.void(pickle.dumps(Payload(marker)))
    path = hspy(tmp_path, lambda file, group: group["metadata"].attrs.__setitem__("_bs_function", content))
    assert len(parse_worker.answer(path, None, tmp_path)["images"]) == 1
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.jpg", "is a JPEG, whose compression alters the contrast that is measured; export the original as TIFF"),
        ("a.ser", "is a TIA series; save it as TIFF or EMD first"),
        ("a.blo", "is scanning diffraction data, not an image"),
        ("a.xyz", "has an ending that is not known (.xyz); give one of .dm3, .dm4, .emd"),
        ("a", "has an ending that is not known (none)"),
    ],
)
def test_other_endings_are_refused_by_name(tmp_path, name, message):
    with pytest.raises(BadInputError) as raised:
        parse(write(tmp_path / name, b"x"))
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


def test_the_worker_may_run_send_and_write_nothing(tmp_path):
    (tmp_path / "own").mkdir()
    source, other = write(tmp_path / "a.tif", b"x"), write(tmp_path / "b.tif", b"x")
    code = f"""
import os, socket, subprocess, sys
from pathlib import Path
from passband.deploy import parse_worker
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
    write(tmp_path / "json.py", b"raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    (found,) = parse(path)
    assert np.array_equal(found.intensity, image(dtype=np.uint8))


def test_names_of_all_kinds_are_passed_on(tmp_path):
    path = files.write_png(tmp_path / "ä ' \" $(touch x);\n-.png", image(dtype=np.uint8))
    assert len(parse(path)) == 1


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
        parsing._collect(tmp_path, status, Limits())


def test_a_worker_is_not_trusted(tmp_path):
    good = {
        "file": "0.npy", "shape": [72, 96], "pixel_size_angstrom": 0.2, "calibration": "a\x1b[31m\nb", "energy_ev": None,
        "dose_per_angstrom2": None, "number": None, "said": ["\x07"],
    }  # fmt: skip
    marker = tmp_path / "it ran"

    def collect(**changes):
        np.save(tmp_path / "0.npy", image())
        np.save(tmp_path / "1.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
        (tmp_path / "answer.json").write_text(json.dumps({"images": [good | changes]}))
        return parsing._collect(tmp_path, 0, Limits())

    (found,) = collect()
    assert found.calibration == "a?[31m?b" and found.said == ("?",)
    assert np.array_equal(found.intensity, image())
    for changes in (
        {"file": "1.npy"}, {"file": "2.npy"}, {"file": "/etc/passwd"}, {"shape": [72, 97]}, {"shape": [1]}, {"shape": "no"},
        {"shape": [16384, 10**9]}, {"said": None}, {"number": "x"},
    ):  # fmt: skip
        with pytest.raises(BadInputError, match="makes its reader break off"):
            collect(**changes)
    assert collect(pixel_size_angstrom="0.2")[0].pixel_size_angstrom is None
    (tmp_path / "answer.json").write_text("[]")
    with pytest.raises(BadInputError, match="makes its reader break off"):
        parsing._collect(tmp_path, 0, Limits())
    (tmp_path / "answer.json").write_text(json.dumps({"refusal": "a\nb"}))
    with pytest.raises(BadInputError, match=r"^a\?b$"):
        parsing._collect(tmp_path, 0, Limits())
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

    monkeypatch.setattr(limited.subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        parse(path)
    assert started[0].returncode == -signal.SIGKILL


def test_a_full_disk_is_told_from_a_bad_file(tmp_path, monkeypatch):
    path = files.write_png(tmp_path / "a.png", image(dtype=np.uint8))

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parse_worker.np, "save", full)
    with pytest.raises(OSError, match="No space left"):
        parse_worker.answer(path, None, tmp_path)
