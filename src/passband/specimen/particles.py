"""Facetted face-centred cubic particles of random size, shape and orientation."""

import itertools

import numpy as np
from scipy.spatial.transform import Rotation

from passband.specimen.recipes import ParticleRecipe

# Distances of the facets relative to {111}: the Wulff ratios of gold lie near 1.1 for {100} and 1.2 for {110}
# (Barnard et al., ACS Nano 3 (2009) 1431); particles on a substrate scatter around them.
_FACETS = {(1, 1, 1): 1.0, (1, 0, 0): 1.1, (1, 1, 0): 1.2}
# {111} distance relative to the circumscribed sphere, so that the sphere only rounds the corners.
_INNER = 0.85
_BASIS = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def draw_particle(recipe: ParticleRecipe, rng: np.random.Generator) -> np.ndarray:
    """Return the atoms of one particle around the origin, shape [N, 3] [Å].

    WulffPack and ASE build shapes with the symmetry of the crystal; deposited particles lack it, so each facet gets
    its own distance here.

    Args:
        recipe: what to draw.
        rng: source of randomness.
    """
    radius = rng.uniform(*recipe.diameter_angstrom) / 2
    a = recipe.lattice_constant_angstrom
    reach = int(np.ceil(radius / a)) + 1
    cells = np.array(list(itertools.product(range(-reach, reach + 1), repeat=3)))
    atoms = a * (cells[:, None, :] + _BASIS).reshape(-1, 3) - a * rng.uniform(0, 1, 3)
    keep = np.linalg.norm(atoms, axis=1) <= radius
    for normal, ratio in facet_normals():
        distance = _INNER * radius * ratio * (1 + recipe.facet_variation * rng.standard_normal())
        keep &= atoms @ normal <= distance
    return Rotation.random(rng=rng).apply(atoms[keep])


def facet_normals() -> list[tuple[np.ndarray, float]]:
    """Return (unit normal, relative distance) of all 26 facets."""
    result = []
    for family, ratio in _FACETS.items():
        signed = itertools.product(*[(-i, i) if i else (0,) for i in family])
        for indices in sorted({p for signs in signed for p in itertools.permutations(signs)}):
            result.append((np.array(indices) / np.linalg.norm(indices), ratio))
    return result
