"""One specimen: a film, the particles on it, and which atom belongs to what."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from passband.errors import BadInputError
from passband.seeds import seed_from
from passband.specimen.particles import draw_particle
from passband.specimen.placement import draw_places
from passband.specimen.recipes import SpecimenRecipe
from passband.specimen.substrates import draw_film

# Vacuum before the film and behind the highest atom, and the gap between film and particle [Å].
_VACUUM = 2.0
_CONTACT = 2.0


@dataclass(frozen=True)
class Specimen:
    """Atoms in a periodic field; the beam runs along +z, meets the film first and the particles last.

    Attributes:
        atoms: all atoms, in a cell of field × field × height [Å]; its far face, 2 Å behind the last atom, is the exit
            plane, from which defocus is measured.
        particle: for each atom 0 (film) or the number of its particle from 1, shape [N].
    """

    atoms: Atoms
    particle: np.ndarray


def draw_specimen(recipe: SpecimenRecipe, index: int) -> Specimen:
    """Return specimen number `index` of the family; the same recipe and index always give the same atoms.

    Args:
        recipe: the family.
        index: from 0.

    Raises:
        BadInputError: if the particles do not fit the field or the film cannot be filled.
    """
    rng = np.random.default_rng(seed_from("specimen", recipe.seed, index))
    field = recipe.field_angstrom
    film = draw_film(recipe.substrate, field, rng)
    film[:, 2] += _VACUUM
    surface = float(film[:, 2].max())
    particles = _draw_particles(recipe, rng)
    for particle in particles:
        particle[:, 2] += surface + _CONTACT - particle[:, 2].min()
    positions = np.concatenate([film, *particles])
    symbols = [recipe.substrate.element] * len(film) + [recipe.particles.element] * sum(map(len, particles))
    owner = np.concatenate([np.full(len(p), i) for i, p in enumerate([film, *particles])])
    height = float(positions[:, 2].max()) + _VACUUM
    atoms = Atoms(symbols, positions, cell=[field, field, height], pbc=True)
    return Specimen(atoms, owner)


def _draw_particles(recipe: SpecimenRecipe, rng: np.random.Generator) -> list[np.ndarray]:
    count = 0
    for _ in range(100):
        count = int(rng.integers(recipe.particles.count[0], recipe.particles.count[1], endpoint=True))
        particles = [draw_particle(recipe.particles, rng) for _ in range(count)]
        radii = np.array([np.hypot(p[:, 0], p[:, 1]).max() for p in particles])
        places = draw_places(radii, recipe.field_angstrom, rng)
        if places is not None:
            return [p + np.array([*place, 0.0]) for p, place in zip(particles, places, strict=True)]
    raise BadInputError(
        f"no room for {count} particles in a field of {recipe.field_angstrom:g} Å after 100 tries; lower particles.count or particles.diameter_angstrom, or enlarge field_angstrom"
    )
