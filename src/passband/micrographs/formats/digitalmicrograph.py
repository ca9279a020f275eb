"""Gatan DigitalMicrograph, .dm3 and .dm4."""

import struct
from contextlib import ExitStack
from pathlib import Path

from rsciio.digitalmicrograph import file_reader

from passband.micrographs.formats import metadata, units
from passband.micrographs.formats.dataset import Dataset, axis, dataset

NAME = "a DigitalMicrograph file"
SIGNATURES = (b"\x00\x00\x00\x03", b"\x00\x00\x00\x04")


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the data sets of a file, without thumbnails."""
    try:
        # In one piece, because each piece would map the whole file anew.
        entries = file_reader(str(path), lazy=True, chunks=-1)
    except ValueError:  # Colour images cannot be read lazily.
        entries = file_reader(str(path))
    with path.open("rb") as file:
        head = file.read(16)
    # The byte order follows the version and the length (4 or 8 bytes); RosettaSciIO applies it to the tags, not to the pixels.
    little = struct.unpack(">i", head[12:16] if head[3] == 4 else head[8:12])[0]
    data = []
    for entry in entries:
        tags = metadata.lookup(entry["original_metadata"], "ImageList.TagGroup0.ImageTags")
        origin = metadata.lookup(tags, "source.Tags at creation") or tags
        microscope = metadata.lookup(origin, "Microscope Info")
        energy = metadata.beam_energy_ev(entry)
        for name in ("High Tension", "High tension", "Formatted Voltage"):
            energy = energy or units.energy_ev(metadata.lookup(microscope, name))
        kind, pixels = entry["metadata"]["Signal"]["signal_type"], entry["data"]
        # An energy-filtered image is called EELS too.
        spectral = kind and not (kind == "EELS" and pixels.ndim == 2)
        fault = f"holds a spectrum image ({kind}) and no micrograph; give an HRTEM image" if spectral else None
        if not (little or pixels.dtype.names):
            pixels = pixels.view(pixels.dtype.newbyteorder(">"))
        dose, scanned = metadata.dose(tags), metadata.is_scanned(microscope)
        axes = [axis(a) for a in entry["axes"]]
        data.append(dataset(pixels, axes, fault=fault, energy_ev=energy, dose=dose, scanned=scanned))
    return data
