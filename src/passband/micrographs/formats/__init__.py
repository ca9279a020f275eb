"""Formats of micrographs, one a file, and those that are refused by name.

A reader lists the data sets of a file without decoding pixels; `decode.micrographs` decodes the images.
"""

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from passband.base.errors import BadInputError

if TYPE_CHECKING:
    from passband.micrographs.formats.dataset import Dataset

#: The module that reads a file, by its ending; imported on demand.
READERS = {
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".emd": "emd",
    ".hspy": "hspy",
    ".mrc": "mrc",
    ".mrcs": "mrc",
    ".png": "png",
    ".ser": "tia",
    ".tif": "tiff",
    ".tiff": "tiff",
}
_LOSSY = "a JPEG, whose compression alters the contrast that is measured; export the original as TIFF"
_REFUSED = {
    ".jpg": _LOSSY,
    ".jpeg": _LOSSY,
    ".emi": "the description of a TIA series; give the .ser file beside it",
    ".blo": "scanning diffraction data, not an image",
    ".bcf": "a spectrum image, not a micrograph",
    ".mib": "detector frames of diffraction; sum them and save them as TIFF first",
    ".eer": "an electron-event recording; sum it to an MRC or TIFF first",
    ".zspy": "a folder of arrays; save it as .hspy first",
    ".npy": "a NumPy array; load it in Python and pass the array with its pixel size",
    ".npz": "a NumPy archive; load it in Python and pass the array with its pixel size",
    ".rec": "a tomogram; save one slice as .mrc first",
    ".map": "a density map; save one slice as .mrc first",
    ".st": "a tilt series; save it as .mrc first",
    ".h5": "HDF5 of unknown layout; save it as .hspy or .emd first",
    ".hdf5": "HDF5 of unknown layout; save it as .hspy or .emd first",
    ".bmp": "a screen image; export the original as TIFF",
    ".gif": "a screen image; export the original as TIFF",
}
_KNOWN_STARTS = {
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a zstd archive",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "a program",
    b"#!": "a script",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"II\x97\x01": "a TIA series",
}


def endings() -> str:
    """Return the endings of readable files as a text."""
    return ", ".join(ending.removeprefix(".") for ending in READERS)


def description(path: Path) -> Path:
    """Return the file that describes a series of TIA: a.emi of a_1.ser."""
    return path.with_name(path.stem.rpartition("_")[0] + ".emi")


def check_ending(path: Path) -> None:
    """Raise BadInputError, without the path, for a file whose ending is not that of a readable format."""
    ending = path.suffix.lower()
    if ending in _REFUSED:
        raise BadInputError(f"is {_REFUSED[ending]}")
    if ending not in READERS:
        raise BadInputError(f"has an ending that is not known ({ending or 'none'}); give one of {', '.join(READERS)}")


def datasets(path: Path, closing: ExitStack) -> "list[Dataset]":
    """Return the data sets of a file after checking that its first bytes fit its ending.

    `closing` keeps the file open while pixels are decoded. A damaged file may raise any exception; a BadInputError has no path.
    """
    check_ending(path)
    reader = import_module(f"passband.micrographs.formats.{READERS[path.suffix.lower()]}")
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise BadInputError("is empty; copy it again")
    # A pickle starts with its protocol and an instruction; an MRC image 1152 pixels wide continues with zeros.
    if start[:1] == b"\x80" and 2 <= start[1] <= 5 and start[2:3] not in (b"", b"\x00"):
        raise BadInputError("is a Python pickle, which may run programs and is never opened; export the image itself")
    known = next((kind for begin, kind in _KNOWN_STARTS.items() if start.startswith(begin)), None)
    # MRC has no signature; its first number is a width, whose upper bytes are zero.
    expected = start.startswith(reader.SIGNATURES) if reader.SIGNATURES else known is None or start[2:4] == b"\x00\x00"
    if not expected and known:
        raise BadInputError(f"is {known}, and not {reader.NAME}, as its ending says; rename it")
    if not expected:
        raise BadInputError(f"does not begin as {reader.NAME} does; give its right ending, or export it again")
    return reader.read(path, closing)
