"""EMD, .emd: Velox of Thermo Fisher, and the format of NCEM (Berkeley; emdatasets.com)."""

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from rsciio.emd import file_reader

from passband.base.errors import BadInputError
from passband.micrographs.formats import hdf5, metadata, units
from passband.micrographs.formats.dataset import Axis, Dataset, axis, dataset

NAME = "an EMD file"
SIGNATURES = hdf5.SIGNATURES

_SPECTRA = {"SpectrumStream", "SpectrumImage", "EelsSpectrumImage", "Spectrum"}
# Data sets of NCEM and py4DSTEM that may be images.
_IMAGES = ("data", "datacube", "realslice", "diffractionslice")


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the data sets of a file."""
    file = hdf5.opened(path, closing)
    if "Version" not in file or "Data" not in file:
        return _ncem(file)
    velox = set(file["Data"])
    if velox & _SPECTRA and not (velox == {"Image", "Spectrum"} and not len(file["Data/Spectrum"])):
        remedy = "export the image alone from Velox, as TIFF or EMD"
        raise BadInputError(f"holds a spectrum image or spectra beside its images; {remedy}")
    # The descriptions of Fourier transforms name their images.
    groups = [file.get(f"{place}/FftOperation") for place in ("Operations", "SharedProperties")]
    described = [one for group in groups if isinstance(group, h5py.Group) for one in group.values()]
    transforms = str([bytes(np.ravel(one[...])[:1][0]) for one in described])
    entries = file_reader(str(path), lazy=True, select_type="images", stack_group=False)
    return [_velox(entry, name in transforms) for entry, name in zip(entries, file.get("Data/Image", ()), strict=True)]


def _velox(entry: dict[str, Any], transform: bool) -> Dataset:
    original = entry["original_metadata"]
    title = str(metadata.lookup(entry["metadata"], "General.title")).upper()
    fault = None
    if transform or title in ("FFT", "HALF FFT"):
        fault = "is a Fourier transform (FFT) of an image; give the image"
    elif entry["metadata"]["Signal"]["signal_type"]:
        fault = "holds diffraction patterns; give a real-space image"
    scanned = metadata.lookup(original, "Optics.OperatingMode") == "2"
    energy, dose = metadata.beam_energy_ev(entry), metadata.dose(original)
    axes = [axis(a) for a in entry["axes"]]
    return dataset(entry["data"], axes, fault=fault, energy_ev=energy, dose=dose, scanned=scanned)


def _ncem(file: h5py.File) -> list[Dataset]:
    """Return the data sets of NCEM's format as stored, which RosettaSciIO transposes."""
    about = {name: dict(file[name].attrs) for name in ("microscope", "user", "comments") if name in file}
    energy = None
    for name in ("voltage", "beam_energy", "high_tension"):
        energy = energy or units.energy_ev(metadata.lookup(about, f"microscope.{name}"))
    scanned = metadata.is_scanned(about.get("microscope"))
    found: list[Dataset] = []

    def look(place: str, data: h5py.Dataset | h5py.Group) -> None:
        named = isinstance(data, h5py.Dataset) and place.rsplit("/")[-1].startswith(_IMAGES)
        if not named or not data.parent.attrs.get("emd_group_type", False):
            return
        first = int(f"{data.parent.name}/dim0" not in file)
        axes = [_axis(data.parent.get(f"dim{i + first}"), size) for i, size in enumerate(data.shape)]
        patterns = "CBED" in place or "diffraction" in place
        fault = "holds diffraction patterns; give a real-space image" if patterns else None
        one = dataset(data, axes, fault=fault, energy_ev=energy, dose=metadata.dose(about), scanned=scanned)
        found.append(_reversed(one) if place.startswith("signals/") else one)

    file.visititems(look)
    if not found:
        raise BadInputError("is no EMD file of Velox or NCEM with an image; export the image as TIFF")
    return found


def _reversed(data: Dataset) -> Dataset:
    """Return a data set with its axes in reverse, as HyperSpy writes its signals."""
    last = len(data.axes) - 1

    def frame(along: int | None, index: int) -> NDArray[Any]:
        return data.frame(None if along is None else last - along, index).T

    return replace(data, axes=data.axes[::-1], frame=frame)


def _axis(vector: h5py.Dataset | None, size: int) -> Axis:
    """Return the axis that a vector of coordinates and its name and units describe."""
    if not isinstance(vector, h5py.Dataset):
        return Axis(size)
    values = np.ravel(vector[...])
    step = float(np.diff(values).mean()) if values.dtype.kind in "iuf" and len(values) > 1 else None
    name = vector.attrs.get("name", "")
    name = name.decode("latin-1") if isinstance(name, bytes) else name
    return axis({"size": size, "name": name, "scale": step, "units": vector.attrs.get("units")})
