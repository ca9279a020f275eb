"""
Simulated micrographs
=====================

Micrographs for the tutorials, as files with their scale and the true masks: gold on carbon, recorded by a scintillator camera.

    python examples/simulated_micrographs.py micrographs 2
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

import passband as pb

PIXEL_ANGSTROM = 0.4


def make(folder: Path, count: int = 2) -> None:
    """Write `count` micrographs, TIFF and MRC in turn, and a mask beside each."""
    folder.mkdir(parents=True, exist_ok=True)
    today = pb.Condition(
        energy_ev=300e3,
        aberrations={"C10": -120.0, "C12": 15.0, "C30": -5e4},
        focal_spread_angstrom=25.0,
        pixel_size_angstrom=PIXEL_ANGSTROM,
        dose_per_angstrom2=800.0,
        detector={"mtf": 0.2, "correlated_noise": 0.95},
    )
    shots = pb.simulate("gold_on_carbon_wide", today, n=count)
    for i, (counts, mask) in enumerate(zip(shots.images, shots.masks, strict=True)):
        write = write_tiff if i % 2 == 0 else write_mrc
        write(folder / f"gold_{i}", np.asarray(counts, dtype=np.float32))
        Image.fromarray(mask).save(folder / f"gold_{i}_mask.png")


def write_tiff(path: Path, image: np.ndarray) -> None:
    """Write an image as an ImageJ TIFF, whose pixel size lies in its tags."""
    per_nm = 10 / PIXEL_ANGSTROM
    scale = {"resolution": (per_nm, per_nm), "metadata": {"unit": "nm", "axes": "YX"}}
    tifffile.imwrite(path.with_suffix(".tif"), image, imagej=True, **scale)


def write_mrc(path: Path, image: np.ndarray) -> None:
    """Write an image as MRC2014, whose header holds the size of the field [Å] (Cheng et al., J. Struct. Biol. 192 (2015) 146)."""
    h, w = image.shape
    header = np.zeros(256, dtype="<i4")
    header[:10] = (w, h, 1, 2, 0, 0, 0, w, h, 1)
    header[10:16] = np.array([w * PIXEL_ANGSTROM, h * PIXEL_ANGSTROM, 1.0, 90, 90, 90], "<f4").view("<i4")
    header[16:19] = (1, 2, 3)
    header[52:54] = np.frombuffer(b"MAP \x44\x44\x00\x00", "<i4")
    path.with_suffix(".mrc").write_bytes(header.tobytes() + np.ascontiguousarray(image, "<f4").tobytes())


if __name__ == "__main__":
    folder, count = [*sys.argv[1:], *("micrographs", "2")[len(sys.argv) - 1 :]]
    make(Path(folder), int(count))
