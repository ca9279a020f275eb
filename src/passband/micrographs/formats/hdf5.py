"""Check the links and the storage of HDF5 files (.emd and .hspy) before a reader follows them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import h5py

from passband.base.errors import BadInputError

SIGNATURES = (b"\x89HDF\r\n\x1a\n",)

_MOST_OBJECTS = 5_000
_DEEPEST = 50
# One-dimensional data are metadata; images have more dimensions.
_MOST_METADATA_BYTES = 64 * 1024**2


def opened(path: Path, closing: ExitStack) -> h5py.File:
    """Open an HDF5 file; BadInputError if it links to another file, in a circle, or to Python objects."""
    file = closing.enter_context(h5py.File(path, "r"))
    fault = next(_faults(file), None)
    if fault is not None:
        raise BadInputError(f"{fault}; export the image alone")
    return file


def _faults(file: h5py.File) -> Iterator[str]:
    """Yield what is wrong; nothing after the first fault is safe to look at."""
    seen, count = {_address(file.id)}, 0
    waiting: list[tuple[h5py.Group, int]] = [(file, 0)]
    soft: list[tuple[h5py.Group, str, str]] = []
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            count += 1
            where = f"{group.name.rstrip('/')}/{name}"[:80]
            link = group.get(name, getlink=True)
            if count > _MOST_OBJECTS:
                yield f"holds more than {_MOST_OBJECTS} objects"
            elif isinstance(link, h5py.ExternalLink):
                yield f"leads to another file ({where}), which is not followed"
            elif isinstance(link, h5py.SoftLink):
                soft.append((group, name, where))
            elif not isinstance(link, h5py.HardLink):
                yield f"holds a link of unknown kind ({where})"
            elif isinstance(inner := group[name], h5py.Group):
                if _address(inner.id) in seen or depth == _DEEPEST:
                    yield f"nests groups in a circle or deeper than {_DEEPEST} ({where})"
                seen.add(_address(inner.id))
                waiting.append((inner, depth + 1))
            elif isinstance(inner, h5py.Dataset):
                yield from _faults_of_data(inner, where)
    # Soft links last: now no path leads out of the file.
    for group, name, where in soft:
        if not isinstance(group.get(name), h5py.Dataset):
            yield f"holds a soft link to no data set ({where})"


def _address(identity: h5py.h5g.GroupID) -> tuple[int, int]:
    information = h5py.h5o.get_info(identity)
    return information.fileno, information.addr


def _faults_of_data(data: h5py.Dataset, where: str) -> Iterator[str]:
    properties, kind, size = data.id.get_create_plist(), data.dtype, data.size or 0
    if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
        yield f"keeps its values in other files ({where}), which are not followed"
    if h5py.check_ref_dtype(kind) is not None or (kind.kind == "O" and h5py.check_string_dtype(kind) is None):
        yield f"holds references, lists of varying length or objects ({where})"
    if data.ndim < 2 and size * kind.itemsize > _MOST_METADATA_BYTES:
        most = f"at most {_MOST_METADATA_BYTES // 1024**2} MB are read"
        yield f"holds {size} values in one row ({where}), which is no image; {most}"
