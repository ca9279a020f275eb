"""EMD, .emd: Velox of Thermo Fisher, and the format of NCEM (Berkeley)."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rsciio.emd import file_reader

from passband.base.errors import BadInputError
from passband.micrographs.formats import hdf5, metadata, units
from passband.micrographs.formats.dataset import Axis, Dataset, axis, dataset

NAME = "an EMD file"
SIGNATURES = hdf5.SIGNATURES

_SPECTRA = {"SpectrumStream", "SpectrumImage", "EelsSpectrumImage", "Spectrum"}


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the data sets of a file."""
    file = hdf5.opened(path, closing)
    if "Version" in file and "Data" in file:
        velox = set(file["Data"])
        if velox & _SPECTRA and not (velox == {"Image", "Spectrum"} and not len(file["Data/Spectrum"])):
            raise BadInputError(
                "holds a spectrum image or spectra beside its images; export the image alone from Velox, as TIFF or EMD"
            )
    entries = file_reader(str(path), lazy=True, select_type="images", stack_group=False)
    return [_dataset(entry) for entry in entries]


def _dataset(entry: dict[str, Any]) -> Dataset:
    axes = [axis(a) for a in entry["axes"]]
    original = entry["original_metadata"]
    if "EMD_version" in original:
        # RosettaSciIO never marks the stack axis of NCEM's format.
        axes = [Axis(a.size, a.name, a.units, a.scale) for a in axes]
    fault = (
        "holds diffraction patterns; give a real-space image" if entry["metadata"]["Signal"]["signal_type"] else None
    )
    energy = metadata.beam_energy_ev(entry)
    for name in ("voltage", "beam_energy", "high_tension"):
        energy = energy or units.energy_ev(metadata.lookup(original, f"microscope.{name}"))
    scanned = metadata.lookup(original, "Optics.OperatingMode") == "2"
    return dataset(
        entry["data"],
        axes,
        fault=fault,
        energy_ev=energy,
        dose_per_angstrom2=metadata.dose_per_angstrom2(original),
        notes=("recorded in STEM mode, which HRTEM conditions do not describe",) if scanned else (),
    )
