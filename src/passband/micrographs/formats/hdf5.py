"""Check the links and the storage of HDF5 files (.emd and .hspy) before a reader follows them."""

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
    """Open an HDF5 file that does not refer to other files.

    Raises:
        BadInputError: if it links to another file, in a circle, or to Python objects.
    """
    file = closing.enter_context(h5py.File(path, "r"))
    seen = {_address(file.id)}
    waiting: list[tuple[h5py.Group, int]] = [(file, 0)]
    soft: list[tuple[h5py.Group, str, str]] = []
    count = 0
    while waiting:
        group, depth = waiting.pop()
        for name in group:
            count += 1
            if count > _MOST_OBJECTS:
                raise BadInputError(f"holds more than {_MOST_OBJECTS} objects; export the image alone")
            where = f"{group.name.rstrip('/')}/{name}"[:80]
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise BadInputError(f"leads to another file ({where}), which is not followed; export the image alone")
            if isinstance(link, h5py.SoftLink):
                soft.append((group, name, where))
                continue
            if not isinstance(link, h5py.HardLink):
                raise BadInputError(f"holds a link of unknown kind ({where}); export the image alone")
            inner = group[name]
            if isinstance(inner, h5py.Group):
                if _address(inner.id) in seen or depth == _DEEPEST:
                    raise BadInputError(
                        f"nests groups in a circle or deeper than {_DEEPEST} ({where}); export the image alone"
                    )
                seen.add(_address(inner.id))
                waiting.append((inner, depth + 1))
            elif isinstance(inner, h5py.Dataset):
                _check(inner, where)
    # Soft links last: now no path leads out of the file.
    for group, name, where in soft:
        if not isinstance(group.get(name), h5py.Dataset):
            raise BadInputError(f"holds a soft link to no data set ({where}); export the image alone")
    return file


def _address(identity: h5py.h5g.GroupID) -> tuple[int, int]:
    information = h5py.h5o.get_info(identity)
    return information.fileno, information.addr


def _check(data: h5py.Dataset, where: str) -> None:
    properties = data.id.get_create_plist()
    if properties.get_external_count() or properties.get_layout() == h5py.h5d.VIRTUAL:
        raise BadInputError(
            f"keeps its values in other files ({where}), which are not followed; export the image alone"
        )
    if h5py.check_ref_dtype(data.dtype) is not None or (
        data.dtype.kind == "O" and h5py.check_string_dtype(data.dtype) is None
    ):
        raise BadInputError(f"holds references, lists of varying length or objects ({where}); export the image alone")
    if data.ndim < 2 and data.size is not None and data.size * data.dtype.itemsize > _MOST_METADATA_BYTES:
        raise BadInputError(
            f"holds {data.size} values in one row ({where}), which is no image; at most {_MOST_METADATA_BYTES // 1024**2} MB are read: export the image alone"
        )
