"""Ground truth: which pixels a particle covers in projection."""

import numpy as np
from ase.data import covalent_radii
from scipy.spatial import ConvexHull

from passband.specimen.scene import Specimen


def particle_mask(specimen: Specimen, n: int) -> np.ndarray:
    """Return the mask of all particles, bool, shape [n, n], pixel (i, j) at (i, j) · field / n.

    A pixel is particle if it lies within the covalent radius of the convex outline of the particle's atoms, projected
    along the beam. The particles are convex, so the outline has no holes whatever their orientation.

    Args:
        specimen: what to label.
        n: pixels along each side.
    """
    mask = np.zeros((n, n), dtype=bool)
    x = np.arange(n) * specimen.atoms.cell[0, 0] / n
    pixels = np.stack(np.meshgrid(x, x, indexing="ij"), axis=-1)
    for i in range(1, specimen.particle.max() + 1):
        own = specimen.atoms[specimen.particle == i]
        edges = ConvexHull(own.positions[:, :2]).equations
        outside = (pixels @ edges[:, :2].T + edges[:, 2]).max(axis=-1)
        mask |= outside <= covalent_radii[own.numbers[0]]
    return mask
