"""Atomic columns of particles near a zone axis."""

import itertools
import math

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from passband.specimens.scene import Specimen

# A grain shows columns if tilt smears none of them by more than this [Å] ...
_SMEAR = 1.0
# ... its columns stand at least this far apart [Å] ...
_APART = 1.2
# ... and its atoms repeat along the axis within this [Å].
_REPEAT = 9.0
_DIRECTIONS = np.array(
    [d for d in itertools.product(range(-2, 3), repeat=3) if math.gcd(*d) == 1 and next(x for x in d if x) > 0]
)


def zone_axis(lattice: np.ndarray, reach: float) -> tuple[np.ndarray, float] | None:
    """Return the zone axis [u, v, w] along the beam and the tilt from it [rad], or None if columns would smear.

    The cell of the grain is given as a vector a row, shape [3, 3] [Å], and its extent along the beam [Å].
    """
    vectors = _DIRECTIONS @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    tilt = np.arccos(np.clip(np.abs(vectors[:, 2]) / lengths, 0, 1))
    near = (lengths <= _REPEAT * np.sqrt(3)) & (np.tan(np.minimum(tilt, 1.5)) * reach <= _SMEAR)
    if not near.any():
        return None
    # The shortest repeat has the most atoms in a column.
    best = min(np.flatnonzero(near), key=lambda i: (round(float(lengths[i]), 6), float(tilt[i])))
    return _DIRECTIONS[best] * int(np.sign(vectors[best, 2]) or 1), float(tilt[best])


def atomic_columns(specimen: Specimen) -> dict[str, np.ndarray]:
    """Return the columns of all grains that lie near a zone axis, as arrays of one entry a column.

    `x`, `y`: mean place of the atoms in projection [Å]; `particle` and `grain` as in the specimen; `atoms`: how many;
    `mean_number`: mean atomic number; `tilt_rad`: of the grain from its zone axis [rad].
    """
    names = ("x", "y", "particle", "grain", "atoms", "mean_number", "tilt_rad")
    rows: list[tuple[float, ...]] = []
    for number, truth in enumerate(specimen.particles, start=1):
        for grain, lattice in enumerate(truth.lattices):
            in_grain = (specimen.particle == number) & (specimen.grain == grain)
            positions = specimen.atoms.positions[in_grain]
            if not len(positions):
                continue
            axis = zone_axis(lattice, float(np.ptp(positions[:, 2])))
            if axis is None:
                continue
            along = axis[0] @ lattice
            # Sheared along the axis onto the plane of the image: atoms of a column coincide.
            flat = positions[:, :2] - positions[:, [2]] * along[:2] / along[2]
            label = connected(len(flat), cKDTree(flat).query_pairs(0.3, output_type="ndarray"))
            count = np.bincount(label)
            x, y = (np.bincount(label, positions[:, i]) / count for i in (0, 1))
            middles = np.column_stack([x, y])
            if len(x) > 1 and cKDTree(middles).query(middles, k=2)[0][:, 1].min() < _APART:
                continue
            z = np.bincount(label, specimen.atoms.numbers[in_grain]) / count
            rows += [(*row, axis[1]) for row in zip(x, y, [number] * len(x), [grain] * len(x), count, z, strict=True)]
    table = np.array(rows, dtype=float).reshape(-1, len(names))
    whole = {"particle", "grain", "atoms"}
    return {name: table[:, i].astype(int) if name in whole else table[:, i] for i, name in enumerate(names)}


def connected(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return a label for each of `count` points, the same for points that pairs of their indices [P, 2] link."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])
