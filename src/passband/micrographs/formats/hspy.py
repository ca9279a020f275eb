"""HyperSpy, .hspy."""

from contextlib import ExitStack
from pathlib import Path

import h5py
from rsciio.hspy import file_reader

from passband.base.errors import BadInputError
from passband.micrographs.formats import hdf5, metadata
from passband.micrographs.formats.dataset import Dataset, axis, claimed, dataset
from passband.micrographs.formats.decode import MOST_BYTES

NAME = "a HyperSpy file"
SIGNATURES = hdf5.SIGNATURES


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the signals of a file."""
    file = hdf5.opened(path, closing)

    def check(name: str, data: h5py.Dataset | h5py.Group) -> None:
        # RosettaSciIO decodes this format at once where the data have no chunks.
        if isinstance(data, h5py.Dataset) and claimed(data.shape or (), data.dtype) > MOST_BYTES:
            raise BadInputError(
                f"claims {claimed(data.shape, data.dtype) / 1e9:.1f} GB in {name[:80]}; at most {MOST_BYTES / 1e9:.1f} GB can be read: crop or sum it first"
            )

    file.visititems(check)
    return [
        dataset(
            entry["data"],
            [axis(a) for a in entry["axes"]],
            fault=metadata.fault_of_signal(entry["metadata"]),
            energy_ev=metadata.beam_energy_ev(entry),
            dose=metadata.dose({"metadata": entry["metadata"], "original": entry["original_metadata"]}),
            scanned=metadata.is_scanned(metadata.lookup(entry["metadata"], "Acquisition_instrument.TEM")),
        )
        for entry in file_reader(str(path))
        if "data" in entry
    ]
