"""TIA of FEI, .ser: an image or a series; the energy is in the .emi file beside it, which is not read."""

from contextlib import ExitStack
from pathlib import Path

from rsciio.tia._api import ser_reader

from passband.base.errors import BadInputError
from passband.micrographs.formats.dataset import Dataset, axis, dataset

NAME = "a TIA series"
SIGNATURES = (b"II\x97\x01",)
# Identifier of a series of spectra.
_SPECTRA = 0x4120


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the one data set of a file."""
    with path.open("rb") as file:
        head = file.read(12)
    if int.from_bytes(head[6:8], "little") == _SPECTRA:
        raise BadInputError("holds spectra and no image; give an HRTEM image")
    return [dataset(e["data"], [axis(a) for a in e["axes"]]) for e in ser_reader(str(path))]
