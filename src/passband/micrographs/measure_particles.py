"""Measure the particles of a mask."""

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

#: Smaller regions are noise [Å²]: a disc of 6 Å.
LEAST_AREA_ANGSTROM2 = 28.0
_COLUMNS = {
    "particle": pl.Int64,
    "x_angstrom": pl.Float64,
    "y_angstrom": pl.Float64,
    "area_angstrom2": pl.Float64,
    "equivalent_diameter_angstrom": pl.Float64,
    "circularity": pl.Float64,
    "major_axis_angstrom": pl.Float64,
    "minor_axis_angstrom": pl.Float64,
    "orientation_rad": pl.Float64,
    "touches_edge": pl.Boolean,
    "mean_probability": pl.Float64,
}


def particle_table(
    mask: NDArray[np.bool_], pixel_size_angstrom: float, probability: NDArray[np.float32]
) -> tuple[NDArray[np.int32], pl.DataFrame]:
    """Return the number of the particle at each pixel, and a row per particle.

    Connected pixels are one particle; regions under 28 Å² are excluded from the table, not from the mask. Columns: particle;
    x_angstrom and y_angstrom of the centroid, from the centre of the upper left pixel, x to the right; area_angstrom2;
    equivalent_diameter_angstrom of the disc of that area; circularity 4π area / perimeter², at most 1; major and minor axis of the
    ellipse of the same second moments; orientation_rad of its major axis, from x towards y, which runs downwards, (−π/2, π/2];
    touches_edge of the image; mean_probability.

    Args:
        mask: bool [h, w].
        pixel_size_angstrom: of the mask [Å].
        probability: float32 [h, w].
    """
    # Imported here because it takes a second.
    from skimage.measure import label, regionprops

    labels = label(mask, connectivity=1)
    assert isinstance(labels, np.ndarray)
    instances = np.zeros(mask.shape, dtype=np.int32)
    rows: list[dict[str, object]] = []
    p = pixel_size_angstrom
    h, w = mask.shape
    for region in regionprops(labels, intensity_image=probability):
        area = region.area * p**2
        if area < LEAST_AREA_ANGSTROM2:
            continue
        y, x = region.centroid
        top, left, bottom, right = region.bbox
        instances[top:bottom, left:right][region.image] = len(rows) + 1
        perimeter = region.perimeter_crofton * p
        # scikit-image measures from the rows' axis towards the columns'.
        angle = math.remainder(math.pi / 2 - region.orientation, math.pi)
        rows.append(
            {
                "particle": len(rows) + 1,
                "x_angstrom": x * p,
                "y_angstrom": y * p,
                "area_angstrom2": area,
                "equivalent_diameter_angstrom": math.sqrt(4 * area / math.pi),
                "circularity": min(4 * math.pi * area / perimeter**2, 1.0) if perimeter else 1.0,
                "major_axis_angstrom": region.axis_major_length * p,
                "minor_axis_angstrom": region.axis_minor_length * p,
                "orientation_rad": angle,
                "touches_edge": top == 0 or left == 0 or bottom == h or right == w,
                "mean_probability": float(region.intensity_mean),
            }
        )
    return instances, pl.DataFrame(rows, schema=_COLUMNS)
