"""Where particles lie: in the field, apart or one above another, and down on what carries them."""

from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

#: Atoms of a particle come no closer to what carries it than this [Å]: about a metal–carbon bond.
CONTACT = 2.3


def draw_places(
    radii: np.ndarray,
    field: float,
    gap: float,
    apart: bool,
    allowed: Callable[[np.ndarray], np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Return centres, shape [n, 2] [Å], or None if this try found no room.

    Args:
        radii: radius of each particle's projection [Å], shape [n].
        field: side of the square field [Å].
        gap: clear distance between particles, and twice that to the field's edge [Å].
        apart: whether particles may not overlap in projection.
        allowed: whether points [M, 2] may be a particle's centre, bool [M].
        rng: source of randomness.
    """
    places = np.empty((0, 2))
    for i, radius in enumerate(radii):
        margin = radius + gap / 2
        tries = rng.uniform(margin, max(field - margin, margin), (50, 2))
        free = allowed(tries)
        if apart and i:
            distances = np.linalg.norm(tries[:, None] - places, axis=2)
            free &= (distances >= radius + radii[:i] + gap).all(axis=1)
        if not free.any():
            return None
        places = np.concatenate([places, tries[[int(free.argmax())]]])
    return places


def drop_height(particle: np.ndarray, below: np.ndarray, field: float) -> float | None:
    """Return how far along z a particle moves to rest on what lies below, or None if there is nothing below it [Å].

    Args:
        particle: shape [N, 3] [Å].
        below: shape [M, 3] [Å].
        field: side of the periodic field [Å].
    """
    box = np.array([field, field]) * (1 + 1e-12)
    pairs = cKDTree(particle[:, :2] % field, boxsize=box).sparse_distance_matrix(
        cKDTree(below[:, :2] % field, boxsize=box), CONTACT, output_type="ndarray"
    )
    if not len(pairs):
        return None
    rise = np.sqrt(np.maximum(CONTACT**2 - pairs["v"] ** 2, 0))
    return float((below[pairs["j"], 2] + rise - particle[pairs["i"], 2]).max())
