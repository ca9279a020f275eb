"""
Eight labelled images
=====================

Micrographs with masks for the tutorial on your own labels: simulated, with edges drawn 2 Å inside, as people often do.

    python examples/eight_labelled_images.py shots
"""

import sys
from pathlib import Path

import tifffile
from PIL import Image

import passband as pb
from passband.micrographs.agreement import moved

INSIDE_ANGSTROM = 2.0


def make(folder: Path, count: int = 8) -> None:
    """Write `count` images as TIFF files with their scale, and a mask beside each."""
    folder.mkdir(parents=True, exist_ok=True)
    today = pb.Condition(
        energy_ev=300e3,
        aberrations={"C10": -100.0, "C30": -5e4},
        focal_spread_angstrom=25.0,
        pixel_size_angstrom=0.4,
        dose_per_angstrom2=600.0,
    )
    images = pb.simulate("gold_on_carbon_wide", today, n=count)
    per_nm = 10 / images.pixel_size_angstrom
    for i, (shot, mask) in enumerate(zip(images.images, images.masks, strict=True)):
        scale = {"resolution": (per_nm, per_nm), "metadata": {"unit": "nm", "axes": "YX"}}
        tifffile.imwrite(folder / f"shot_{i}.tif", shot, imagej=True, **scale)
        Image.fromarray(moved(mask, -INSIDE_ANGSTROM, images.pixel_size_angstrom)).save(folder / f"shot_{i}_mask.png")


if __name__ == "__main__":
    make(Path(sys.argv[1] if len(sys.argv) > 1 else "shots"))
