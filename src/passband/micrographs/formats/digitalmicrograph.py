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
    """Return the data sets of a file, thumbnails left out."""
    try:
        # In one piece, because each piece would map the whole file anew.
        found = file_reader(str(path), lazy=True, chunks=-1)
    except ValueError:  # Colour images are read at once or not at all.
        found = file_reader(str(path))
    with path.open("rb") as file:
        head = file.read(16)
    # After the version and, in four bytes or eight, the length; RosettaSciIO minds it for the tags and not for the pixels.
    little = struct.unpack(">i", head[12:16] if head[3] == 4 else head[8:12])[0]
    made = []
    for one in found:
        tags = metadata.lookup(one["original_metadata"], "ImageList.TagGroup0.ImageTags")
        origin = metadata.lookup(tags, "source.Tags at creation") or tags
        microscope = metadata.lookup(origin, "Microscope Info")
        energy = metadata.beam_energy_ev(one)
        for name in ("High Tension", "High tension", "Formatted Voltage"):
            energy = energy or units.energy_ev(metadata.lookup(microscope, name))
        kind = one["metadata"]["Signal"]["signal_type"]
        # An energy-filtered image is called EELS too.
        spectral = kind and not (kind == "EELS" and one["data"].ndim == 2)
        scanned = "STEM" in str(metadata.lookup(microscope, "Illumination Mode"))
        made.append(
            dataset(
                one["data"]
                if little or one["data"].dtype.names
                else one["data"].view(one["data"].dtype.newbyteorder(">")),
                [axis(a) for a in one["axes"]],
                fault=f"holds a spectrum image ({kind}) and no micrograph; give an HRTEM image" if spectral else None,
                energy_ev=energy,
                dose_per_angstrom2=metadata.dose_per_angstrom2(tags),
                said=("recorded in STEM mode, which HRTEM conditions do not describe",) if scanned else (),
            )
        )
    return made
