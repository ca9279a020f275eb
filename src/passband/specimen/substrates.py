"""Amorphous films by random sequential addition."""

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from scipy.constants import atomic_mass
from scipy.spatial import cKDTree

from passband.errors import BadInputError
from passband.specimen.recipes import SubstrateRecipe


def number_density(recipe: SubstrateRecipe) -> float:
    """Return the number of atoms per Å³."""
    return recipe.density_g_per_cm3 * 1e-3 / (atomic_masses[atomic_numbers[recipe.element]] * atomic_mass) * 1e-24


def draw_film(recipe: SubstrateRecipe, field: float, rng: np.random.Generator) -> np.ndarray:
    """Return the atoms of a film with its lower face at z = 0, periodic along x and y, shape [N, 3] [Å].

    Args:
        recipe: what to draw.
        field: side of the square field [Å].
        rng: source of randomness.

    Raises:
        BadInputError: if density and minimum distance cannot be met together.
    """
    thickness = rng.uniform(*recipe.thickness_angstrom)
    wanted = round(number_density(recipe) * field**2 * thickness)
    distance = recipe.minimum_distance_angstrom
    # cKDTree wants a period along every axis: one along z beyond reach is none.
    box = np.array([field, field, 2 * thickness + 2 * distance])
    atoms = np.empty((0, 3))
    for _ in range(200):
        new = rng.uniform(0, 1, (wanted, 3)) * [field, field, thickness]
        if len(atoms):
            nearest, _ = cKDTree(atoms, boxsize=box).query(new, distance_upper_bound=distance)
            new = new[np.isinf(nearest)]
        clashes = cKDTree(new, boxsize=box).query_pairs(distance, output_type="ndarray")
        new = np.delete(new, clashes[:, 1], axis=0)
        atoms = np.concatenate([atoms, new])[:wanted]
        if len(atoms) == wanted:
            return atoms
    raise BadInputError(
        f"a {recipe.element} film of {recipe.density_g_per_cm3:g} g/cm³ cannot be filled with atoms {distance:g} Å apart "
        f"({len(atoms)} of {wanted} placed); lower minimum_distance_angstrom or density_g_per_cm3"
    )
