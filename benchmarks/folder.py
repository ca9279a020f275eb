"""Measure how long `passband segment` takes for a folder of micrographs of 2048², with verdicts and optics, as a whole command.

python benchmarks/folder.py          # 100 files; writes the row
python benchmarks/folder.py 10       # fewer; only prints
"""

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from microscope import MODEL, process
from rows import CORES, Row, write

import passband as pb

_FILES, _AIM_SECONDS = 100, 600.0
_SIDE, _PIXEL, _FIELDS = 2048, 0.4, 12


def make(folder: Path, count: int) -> None:
    """Write micrographs that are put together from simulated fields of gold on carbon, each turned at random."""
    optics: dict[str, Any] = {"aberrations": {"C10": -120.0, "C12": 15.0, "C30": -5e4}, "focal_spread_angstrom": 25.0}
    today = pb.Condition(energy_ev=300e3, pixel_size_angstrom=_PIXEL, dose_per_angstrom2=800.0, **optics)
    fields = np.asarray(pb.simulate("gold_on_carbon_wide", today, n=_FIELDS).images, dtype=np.uint16)
    across = _SIDE // fields.shape[-1]
    for number in range(count):
        rng = np.random.default_rng(number)
        chosen = rng.integers(_FIELDS, size=(across, across))
        image = np.block([[np.rot90(fields[i], int(rng.integers(4))) for i in row] for row in chosen.tolist()])
        scale: dict[str, Any] = {"resolution": (10 / _PIXEL, 10 / _PIXEL), "metadata": {"unit": "nm"}}
        tifffile.imwrite(folder / f"{number:03d}.tif", image, imagej=True, **scale)


def main() -> None:
    """Measure, and write the row if it is of as many files as the aim."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else _FILES
    with tempfile.TemporaryDirectory() as place:
        images = Path(place) / "session"
        images.mkdir()
        make(images, count)
        order = ["segment", MODEL, str(images), "--energy", "300kV", "--out", str(Path(place) / "out")]
        seconds, memory = process(*order)
        # Of all its processes; it does not depend on what else the machine does.
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        process(*order)
        again = time.perf_counter() - began
    cpu = used.ru_utime + used.ru_stime
    note = f"{CORES} workers, {cpu:.0f} s of processor time, {memory:.2f} GiB in the largest process; again in {again:.1f} s"
    if count != _FILES:
        print(f"{count} files: {seconds:.0f} s, {seconds / count:.1f} s each; {note}")
        return
    name = f"segment and judge {_FILES} files of {_SIDE}²"
    write(Row(name, seconds, _AIM_SECONDS, "s, the most it should take", _AIM_SECONDS / seconds, 1.0, note=note))


if __name__ == "__main__":
    main()
