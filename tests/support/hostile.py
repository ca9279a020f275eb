"""Files that are not what they claim to be. Each writer gets a folder and returns a path."""

import os
import struct
import zlib

import h5py
import numpy as np
import tifffile
from PIL import Image

from support import files
from support.files import image


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


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
    "emd: neither": (lambda d: files.write_hspy(d / "a.emd", image()), "is no EMD file of Velox or NCEM with an image"),
    "emd: text": (lambda d: write(d / "a.emd", b"hello, this is no file of the kind"), "does not begin as an EMD file does"),
    "empty": (lambda d: write(d / "a.tif", b""), "is empty"),
    "zip": (lambda d: write(d / "a.tif", b"PK\x03\x04" + bytes(100)), "is a ZIP archive, and not a TIFF image, as its ending says"),
    "jpeg": (lambda d: write(d / "a.png", b"\xff\xd8\xff\xe0" + bytes(100)), "is a JPEG image, and not a PNG image"),
    "gzip under mrc": (lambda d: write(d / "a.mrc", b"\x1f\x8b\x08\x08" + bytes(2000)), "is a gzip archive, and not an MRC file"),
    "tiff under mrc": (lambda d: write(d / "a.mrc", files.write_tiff(d / "a.tif", image()).read_bytes()), "is a TIFF image, and not"),
}  # fmt: skip
