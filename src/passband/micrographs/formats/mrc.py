"""MRC, .mrc and .mrcs: images, stacks and movies of electron cryo-microscopy.

Source: Cheng et al., J. Struct. Biol. 192 (2015) 146, for MRC2014.
"""

import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rsciio.mrc import file_reader

from passband.base.errors import BadInputError
from passband.micrographs.formats.dataset import Axis, Dataset, Dose, axis, claimed, dataset

NAME = "an MRC file"
SIGNATURES: tuple[bytes, ...] = ()

_TYPES = {0: "i1", 1: "i2", 2: "f4", 4: "c8", 6: "u2", 12: "f2"}
# Longest extended header that is looked at, and the bits of its mask for high tension, dose and instrument mode.
_MOST_EXTENDED, _TENSION, _DOSE, _MODE = 100_000_000, 1 << 5, 1 << 6, 1 << 25
# Bytes of a block up to its instrument mode, and the mode of a STEM.
_BLOCK, _STEM = 248, 2
_NOT_READ = {3: "complex 16-bit integers", 101: "4-bit integers"}


def read(path: Path, closing: ExitStack) -> list[Dataset]:
    """Return the one data set of a file.

    Pixels are not RosettaSciIO's, which ignores their byte order and sign; it also takes pixels without a size for 1 nm.
    """
    with path.open("rb") as file:
        header = file.read(1024)
        order = _byte_order(header)
        columns, rows, sections, mode = struct.unpack(order + "4i", header[:16])
        intervals = struct.unpack(order + "3i", header[28:40])
        cell = struct.unpack(order + "3f", header[40:52])
        extra = struct.unpack(order + "i", header[92:96])[0]
        extended = file.read(min(max(extra, 0), _MOST_EXTENDED))
    if mode in _NOT_READ:
        what = f"holds {_NOT_READ[mode]} (MRC mode {mode}), which cannot be read"
        raise BadInputError(f"{what}; save it as 16-bit integers or floats")
    needed, size = 1024 + extra + claimed((columns, rows, sections), _TYPES[mode]), path.stat().st_size
    if needed > size:
        what = f"claims {columns} x {rows} x {sections} pixels, which take {needed} bytes, and has {size}"
        raise BadInputError(f"{what}; it is incomplete: copy it again")
    entry = file_reader(str(path), lazy=True, endianness=order, metadata_file=None)[0]
    axes = [axis(a) for a in entry["axes"]]
    if extra != 131_072 and (min(intervals[:2]) <= 0 or not min(cell[:2]) > 0):
        axes = [Axis(a.size, a.name, stacked=a.stacked) for a in axes]
    facts = _thermo_fisher(header[104:108], extended, order, sections)
    stored = order + (_TYPES[mode] if mode != 0 or _signed(header, order) else "u1")
    pixels = np.memmap(path, np.dtype(stored), "r", 1024 + extra, (sections, rows, columns)).squeeze()
    return [dataset(pixels, axes, **facts)]


def _byte_order(header: bytes) -> str:
    if len(header) < 1024:
        raise BadInputError(f"has {len(header)} bytes, and an MRC header has 1024; it is incomplete: copy it again")
    possible = []
    for order in ("<", ">"):
        *sides, mode = struct.unpack(order + "4i", header[:16])
        extra = struct.unpack(order + "i", header[92:96])[0]
        if min(sides) > 0 and extra >= 0 and (mode in _TYPES or mode in _NOT_READ):
            possible.append((sides[0], order))
    if not possible:
        raise BadInputError("does not begin as an MRC file does; give its right ending, or export it again")
    # The machine stamp is unreliable; the wrong byte order makes the width huge.
    return min(possible)[1]


def _signed(header: bytes, order: str) -> bool:
    """Return whether bytes are signed: by the version in MRC2014, by a flag in IMOD, never in older files."""
    stamp, flags = struct.unpack(order + "2i", header[152:160])
    if stamp == 1_146_047_817:
        return bool(flags & 1)
    return struct.unpack(order + "i", header[108:112])[0] in (20_140, 20_141)


def _thermo_fisher(kind: bytes, extended: bytes, order: str, sections: int) -> dict[str, Any]:
    """Return energy [eV], doses [e/Å²] and mode of Thermo Fisher's extended header: a block a section, in volts and e/m².

    Source: "MRC2014 file format used by Thermo Fisher Scientific software"; a mask says which entries of a block are valid.
    """
    if kind not in (b"FEI1", b"FEI2") or len(extended) < _BLOCK:
        return {}
    size = struct.unpack(order + "i", extended[:4])[0]
    blocks = (
        [extended[i : i + _BLOCK] for i in range(0, len(extended) - _BLOCK + 1, size)][:sections]
        if size >= _BLOCK
        else []
    )
    # The mask, high tension and dose, instrument mode.
    values = [struct.unpack(order + "I72x2d144xi", block[8:]) for block in blocks]
    energies = {tension for mask, tension, *_ in values if mask & _TENSION and 1e4 < tension < 1e7}
    doses = [dose / 1e20 for mask, _, dose, _ in values if mask & _DOSE and 0 < dose < 1e30]
    return {
        "energy_ev": energies.pop() if len(energies) == 1 else None,
        "dose": Dose(listed=tuple(doses) if len(doses) == sections else ()),
        "scanned": any(mask & _MODE and mode == _STEM for mask, *_, mode in values),
    }
