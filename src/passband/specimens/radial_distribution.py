"""The radial distribution function of a block or a film of atoms."""

import numpy as np
from scipy.spatial import cKDTree

from passband.base.errors import BadInputError


def radial_distribution(
    positions: np.ndarray, cell: np.ndarray, r_max: float, bins: int, periodic_z: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return the middles of equal bins up to r_max [Å], and g(r) there, both of shape [bins].

    g is the density of atoms at a distance r from an atom, relative to the mean density: n(r) / (4π r² dr ρ), with n(r)
    the mean number of atoms between r and r + dr from one atom, over all species alike (Allen & Tildesley 2017, eq.
    8.16).

    Args:
        positions: the atoms, shape [N, 3] [Å]; those outside the cell are wrapped along the periodic axes.
        cell: lengths of the orthogonal cell, shape [3] [Å]; the third is unused for a film.
        r_max: largest distance [Å].
        bins: their number.
        periodic_z: False for a film, periodic along x and y only. Then only atoms farther than r_max from both faces
            (the lowest and the highest atom) are centres, and ρ is the density between these two limits.

    Raises:
        BadInputError: if r_max exceeds half a periodic length, or leaves no atom of a film as a centre.
    """
    box = np.array(cell, dtype=float)
    atoms = np.array(positions, dtype=float).reshape(-1, 3)
    periodic = box if periodic_z else box[:2]
    if r_max > periodic.min() / 2:
        raise BadInputError(
            f"r_max {r_max:g} Å exceeds half the shortest periodic length {periodic.min():g} Å; lower r_max or repeat the cell"
        )
    centres, volume, reason = np.ones(len(atoms), dtype=bool), box.prod(), "there are no atoms"
    if not periodic_z:
        low, high = (atoms[:, 2].min(), atoms[:, 2].max()) if len(atoms) else (0.0, 0.0)
        centres = (atoms[:, 2] > low + r_max) & (atoms[:, 2] < high - r_max)
        volume = box[0] * box[1] * (high - low - 2 * r_max)
        reason = f"a film {high - low:g} Å thick has no atom that far from both faces"
        # cKDTree wants a period along every axis: one along z beyond reach is none.
        atoms[:, 2] -= low
        box[2] = high - low + 2 * r_max
    if not centres.any():
        raise BadInputError(f"r_max {r_max:g} Å: {reason}; lower r_max or take a larger specimen")
    density = centres.sum() / volume
    # A remainder of -1e-17 rounds to the period itself, which cKDTree refuses.
    atoms %= box
    atoms[atoms == box] = 0.0

    edges = np.linspace(0, r_max, bins + 1)
    tree = cKDTree(atoms, boxsize=box)
    # The first count, of distances up to zero, is of atoms with themselves.
    counts = cKDTree(atoms[centres], boxsize=box).count_neighbors(tree, edges, cumulative=False)[1:]
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    return (edges[1:] + edges[:-1]) / 2, counts / (centres.sum() * density * shells)
