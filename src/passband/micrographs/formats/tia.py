"""TIA of FEI, .ser: an image or a series; the .emi file beside it has the energy and the mode of the microscope."""

import re
from contextlib import ExitStack
from pathlib import Path

from rsciio.tia._api import ser_reader

from passband.base.errors import BadInputError
from passband.micrographs import formats
from passband.micrographs.formats import metadata, units
from passband.micrographs.formats.dataset import Dataset, axis, dataset

NAME = "a TIA series"
SIGNATURES = (b"II\x97\x01",)
# Identifier of a series of spectra.
_SPECTRA = 0x4120
_MODE = re.compile(rb"<Label>Mode</Label>\s*<Value>([^<]{1,100})")
_TENSION = re.compile(rb"<Label>High tension</Label>\s*<Value>([^<]{1,100})</Value>\s*<Unit>kV")
_MOST_DESCRIPTION = 100_000_000


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the one data set of a file."""
    with path.open("rb") as file:
        head = file.read(12)
    if int.from_bytes(head[6:8], "little") == _SPECTRA:
        raise BadInputError("holds spectra and no image; give an HRTEM image")
    about = b""
    if formats.description(path).is_file():
        with formats.description(path).open("rb") as file:
            about = file.read(_MOST_DESCRIPTION)
    # A description of several series counts if it says the same of all.
    modes = {metadata.is_scanned({"mode": mode.decode("latin-1")}) for mode in _MODE.findall(about)}
    energies = {units.energy_ev(value + b"kV") for value in _TENSION.findall(about)}
    energy = energies.pop() if len(energies) == 1 else None
    entries = ser_reader(str(path))
    return [
        dataset(e["data"], [axis(a) for a in e["axes"]], energy_ev=energy, scanned=modes == {True}) for e in entries
    ]
