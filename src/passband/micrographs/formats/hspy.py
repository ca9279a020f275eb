"""HyperSpy, .hspy."""

from contextlib import ExitStack
from pathlib import Path

import h5py
from rsciio.hspy import file_reader

from passband.base.errors import BadInputError
from passband.micrographs.formats import hdf5, metadata
from passband.micrographs.formats.dataset import Dataset, claimed
from passband.micrographs.formats.decode import MOST_BYTES

NAME = "a HyperSpy file"
SIGNATURES = hdf5.SIGNATURES


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the signals of a file."""
    file = hdf5.opened(path, closing)

    def check(name: str, data: h5py.Dataset | h5py.Group) -> None:
        # RosettaSciIO decodes this format at once where the data have no chunks.
        size = claimed(data.shape or (), data.dtype) if isinstance(data, h5py.Dataset) else 0
        if size > MOST_BYTES:
            limit = f"at most {MOST_BYTES / 1e9:.1f} GB can be read"
            raise BadInputError(f"claims {size / 1e9:.1f} GB in {name[:80]}; {limit}: crop or sum it first")

    file.visititems(check)
    return [metadata.of_signal(entry) for entry in file_reader(str(path)) if "data" in entry]
