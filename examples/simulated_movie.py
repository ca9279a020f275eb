"""
A simulated movie
=================

A movie for the tutorial, as a file with its scale and times: gold on carbon that drifts, a little less with every frame.

    python examples/simulated_movie.py gold_movie.tif 40
"""

import sys
from pathlib import Path

import numpy as np
import tifffile
from scipy import fft, ndimage

import passband as pb

PIXEL_ANGSTROM, FRAME_SECONDS, FRAME_DOSE = 0.4, 0.25, 20.0
#: Pixels of a frame along a side; the rest of the simulated field drifts in.
SIDE = 224


def path(frames: int) -> np.ndarray:
    """Return where the specimen lies in each frame, down and to the right [Å], [n, 2]."""
    time = np.arange(frames) / frames
    return np.stack([9 * time - 5 * time**2, 3 * np.sin(3 * time)], axis=1)


def make(file: Path, frames: int = 40, *, dose: float = FRAME_DOSE, seed: int = 0) -> np.ndarray:
    """Write a movie and return the path of its specimen [Å]."""
    today = pb.Condition(
        energy_ev=300e3,
        aberrations={"C10": -120.0, "C12": 15.0, "C30": -5e4},
        focal_spread_angstrom=25.0,
        pixel_size_angstrom=PIXEL_ANGSTROM,
    )
    # Without a dose, images are mean intensities.
    field = fft.rfft2(pb.simulate("gold_on_carbon_wide", today, n=1).images[0])
    rng, places, shots = np.random.default_rng(seed), path(frames), []
    for place in places:
        moved = fft.irfft2(ndimage.fourier_shift(field, place / PIXEL_ANGSTROM, n=field.shape[0]))
        shown = moved[-SIDE - 20 : -20, -SIDE - 20 : -20]
        shots.append(rng.poisson(np.maximum(shown, 0) * dose * PIXEL_ANGSTROM**2))
    per_nm = 10 / PIXEL_ANGSTROM
    about = {"unit": "nm", "axes": "TYX", "finterval": FRAME_SECONDS}
    tifffile.imwrite(file, np.array(shots, np.uint16), imagej=True, resolution=(per_nm, per_nm), metadata=about)
    return places


if __name__ == "__main__":
    file, frames = [*sys.argv[1:], *("gold_movie.tif", "40")[len(sys.argv) - 1 :]]
    make(Path(file), int(frames))
