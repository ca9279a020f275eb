"""Measure the particles of a mask."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.learning.particle_scores import number_particles

_MEASURED = ("centroid", "bbox", "area", "perimeter_crofton", "axis_major_length", "axis_minor_length", "orientation")


def particle_table(
    mask: NDArray[np.bool_], pixel_size_angstrom: float, probability: NDArray[np.float32]
) -> tuple[NDArray[np.int32], pl.DataFrame]:
    """Return the number of the particle at each pixel, and a row per particle, as `measured` does; mask [h, w].

    Connected pixels are one particle; regions under 28 Å² are excluded from the table, not from the mask.
    """
    instances = number_particles(mask, pixel_size_angstrom)
    return instances, measured(instances, pixel_size_angstrom, probability)


def measured(
    instances: NDArray[np.int32], pixel_size_angstrom: float, probability: NDArray[np.float32]
) -> pl.DataFrame:
    """Return a row per particle, numbered from 1 without gaps; numbers and probability have the shape [h, w].

    Columns: particle; x_angstrom and y_angstrom of the centroid, from the centre of the upper left pixel, x to the right; area_angstrom2;
    equivalent_diameter_angstrom of the disc of that area; circularity 4π area / perimeter², at most 1; major and minor axis of the
    ellipse of the same second moments; orientation_rad of its major axis, from x towards y, which runs downwards, (−π/2, π/2];
    touches_edge of the image; mean_probability.
    """
    # Imported here because it takes a second.
    from skimage.measure import regionprops_table

    p, (h, w) = pixel_size_angstrom, instances.shape
    of = regionprops_table(instances, probability, (*_MEASURED, "intensity_mean"))
    area, perimeter = of["area"] * p**2, of["perimeter_crofton"] * p
    # scikit-image measures from the rows' axis towards the columns'.
    turn = [math.remainder(math.pi / 2 - angle, math.pi) for angle in of["orientation"]]
    columns = {
        "particle": np.arange(1, len(area) + 1),
        "x_angstrom": of["centroid-1"] * p,
        "y_angstrom": of["centroid-0"] * p,
        "area_angstrom2": area,
        "equivalent_diameter_angstrom": np.sqrt(4 * area / math.pi),
        "circularity": np.minimum(4 * math.pi * area / np.maximum(perimeter, 1e-9) ** 2, 1.0),
        "major_axis_angstrom": of["axis_major_length"] * p,
        "minor_axis_angstrom": of["axis_minor_length"] * p,
        "orientation_rad": np.array(turn),
        "touches_edge": (of["bbox-0"] == 0) | (of["bbox-1"] == 0) | (of["bbox-2"] == h) | (of["bbox-3"] == w),
        "mean_probability": of["intensity_mean"].astype(float),
    }
    return pl.DataFrame(columns)
