"""
A simulated session
===================

Plays the microscope for ``passband watch``: writes simulated micrographs into a folder, one every few seconds, while the defocus drifts away from
what the model `au-300kv` knows.

    python examples/simulated_session.py session --images 20 --every 5
"""

import argparse
import time
from pathlib import Path

import numpy as np
import tifffile

import passband as pb

PIXEL_ANGSTROM = 0.4


def condition(defocus_angstrom: float) -> pb.Condition:
    """The microscope of the session, at a defocus."""
    return pb.Condition(
        energy_ev=300e3,
        aberrations={"C10": -defocus_angstrom, "C12": 15.0, "C30": -5e4},
        focal_spread_angstrom=25.0,
        pixel_size_angstrom=PIXEL_ANGSTROM,
        dose_per_angstrom2=800.0,
        detector={"mtf": 0.2, "correlated_noise": 0.95},
    )


def play(folder: Path, images: int, every: float, first: float = 300.0, last: float = -1500.0) -> None:
    """Write so many images, one every so many seconds; the defocus drifts from the first to the last value [Å], positive = underfocus."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, defocus in enumerate(np.linspace(first, last, images)):
        began = time.monotonic()
        [counts] = pb.simulate("gold_on_carbon_wide", condition(float(defocus)), n=1, seed=1 + i).images
        write(folder / f"shot_{i:03d}.tif", np.asarray(counts, dtype=np.float32))
        print(f"shot_{i:03d}.tif at defocus {defocus:+.0f} Å", flush=True)
        time.sleep(max(every - (time.monotonic() - began), 0))


def write(path: Path, image: np.ndarray) -> None:
    """Write a TIFF with its scale, in two parts, as slow cameras do."""
    whole = path.with_name(f".{path.name}")
    per_nm = 10 / PIXEL_ANGSTROM
    scale = {"resolution": (per_nm, per_nm), "metadata": {"unit": "nm", "axes": "YX"}}
    tifffile.imwrite(whole, image, imagej=True, **scale)
    content = whole.read_bytes()
    whole.unlink()
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        time.sleep(0.3)
        file.write(content[len(content) // 2 :])


if __name__ == "__main__":
    words = argparse.ArgumentParser(description="Play the microscope.")
    words.add_argument("folder", type=Path)
    words.add_argument("--images", type=int, default=20)
    words.add_argument("--every", type=float, default=5.0, help="seconds")
    given = words.parse_args()
    play(given.folder, given.images, given.every)
