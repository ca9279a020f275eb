"""One specimen: a film, the particles on it, and which atom belongs to what."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from scipy.spatial import cKDTree

from passband.base.errors import BadInputError
from passband.base.identity import seed_from
from passband.specimens.particles import Particle, ParticleAtoms, draw_particle
from passband.specimens.recipes import SpecimenRecipe
from passband.specimens.substrates import Opening, draw_contamination, draw_film, draw_opening, number_density

# Atoms of a particle come no closer to what carries it than this [Å]: about a metal–carbon bond.
_CONTACT = 2.3
# Vacuum before the first atom and behind the last [Å].
_VACUUM = 2.0
# Positions are rounded to this many decimals [Å], so that the last bits of a processor's sine do not show.
_DECIMALS = 5
# Film atoms this close to an embedded particle's atoms make room: wider than any void of a crystal of the library [Å].
_ROOM = 2.6


@dataclass(frozen=True)
class Specimen:
    """Atoms in a periodic field; the beam runs along +z.

    Attributes:
        atoms: all atoms, in a cell of field × field × height [Å]; its far face, 2 Å behind the last atom, is the exit
            plane, from which defocus is measured.
        particle: for each atom 0 (film) or the number of its particle from 1, shape [N].
        grain: for each atom the grain of its particle, from 0, shape [N].
        particles: crystal, shape, size and orientation of particle 1, 2, …
        film: lower and upper face of the film [Å], or None.
        film_volume_per_atom: of the film's material [Å³]; 0 without a film.
    """

    atoms: Atoms
    particle: np.ndarray
    grain: np.ndarray
    particles: tuple[Particle, ...]
    film: tuple[float, float] | None = None
    film_volume_per_atom: float = 0.0


def draw_scene(recipe: SpecimenRecipe, index: int) -> Specimen:
    """Return specimen number `index`, from 0, of the family, or raise BadInputError if the particles do not fit the field.

    Film, places and each particle draw from streams named after them, so that changing one leaves the others.
    """

    def stream(*names: str | int) -> np.random.Generator:
        return np.random.default_rng(seed_from("specimen", recipe.seed, index, *names))

    field = recipe.field_angstrom
    film, kinds, thickness, volume = np.empty((0, 3)), np.empty(0, dtype=int), 0.0, 0.0
    opening = Opening(field)
    if recipe.substrate is not None:
        film, kinds, thickness = draw_film(recipe.substrate, field, stream("film"), stream("relief"))
        volume = 1 / number_density(recipe.substrate)
        opening = draw_opening(recipe.substrate, field, stream("opening"))
        stays = ~opening.contains(film[:, :2])
        film, kinds = film[stays], kinds[stays]
    placed = _placed(recipe, film, thickness, opening, stream)
    embedded = any(p.position == "in" for p in recipe.particles)
    if recipe.substrate is not None and recipe.substrate.contamination is not None:
        layer, more = draw_contamination(recipe.substrate.contamination, field, stream("contamination"))
        stays = ~opening.contains(layer[:, :2])
        film = np.concatenate([film, layer[stays] + [0.0, 0.0, thickness]])
        kinds = np.concatenate([kinds, more[stays]])
        embedded = True
    if embedded and placed:
        free = _free(film, np.concatenate([p.positions for p in placed]), recipe)
        film, kinds = film[free], kinds[free]
    lowest = min(
        [film[:, 2].min(initial=0.0) if recipe.substrate else np.inf] + [p.positions[:, 2].min() for p in placed]
    )
    lift = np.array([0.0, 0.0, _VACUUM - lowest])
    placed = [p.moved(lift) for p in placed]
    positions = np.round(np.concatenate([film + lift, *(p.positions for p in placed)]), _DECIMALS)
    numbers = np.concatenate([kinds, *(p.numbers for p in placed)])
    owner = np.repeat(np.arange(len(placed) + 1), [len(film), *(len(p.positions) for p in placed)])
    grain = np.concatenate([np.zeros(len(film), dtype=int), *(p.grain for p in placed)])
    height = round(float(positions[:, 2].max()) + _VACUUM, _DECIMALS)
    atoms = Atoms(numbers=numbers, positions=positions, cell=[field, field, height], pbc=True)
    faces = None if recipe.substrate is None else (float(lift[2]), float(lift[2] + thickness))
    return Specimen(atoms, owner, grain, tuple(p.truth for p in placed), faces, volume)


Streams = Callable[..., np.random.Generator]


def _free(film: np.ndarray, particles: np.ndarray, recipe: SpecimenRecipe) -> np.ndarray:
    """Return which atoms of a film [N, 3] leave room for those of particles [M, 3], bool, shape [N]."""
    size = None
    if recipe.boundary == "across":
        # A period beyond reach along z is none.
        lowest = min(film[:, 2].min(initial=0.0), particles[:, 2].min())
        size = np.array([recipe.field_angstrom] * 2 + [np.ptp(np.concatenate([film, particles])[:, 2]) + 10 * _ROOM])
        film, particles = ((points - [0.0, 0.0, lowest]) % size % size for points in (film, particles))
    near, _ = cKDTree(particles, boxsize=size).query(film, distance_upper_bound=_ROOM)
    return np.asarray(np.isinf(near))


def _placed(
    recipe: SpecimenRecipe, film: np.ndarray, thickness: float, opening: Opening, stream: Streams
) -> list[ParticleAtoms]:
    """Return the particles where they lie, or raise BadInputError if they do not fit."""
    for attempt in range(6):
        drawn = _draw_particles(recipe, stream, attempt)
        kinds = [which for which, _ in drawn]
        carriers = [[j for j, kind in enumerate(kinds) if kind in recipe.carriers(which)] for which in kinds]
        radii = np.array([np.hypot(p.positions[:, 0], p.positions[:, 1]).max() for _, p in drawn])
        for again in range(20):
            places = _draw_places(recipe, radii, carriers, opening, stream("places", attempt, again))
            if places is not None:
                flat = [(which, p.moved(np.array([*at, 0.0]))) for (which, p), at in zip(drawn, places, strict=True)]
                return _lowered(recipe, flat, film, thickness, stream)
    raise BadInputError(
        f"no room for {len(drawn)} particles in a field of {recipe.field_angstrom:g} Å after 120 tries; lower count or diameter_angstrom, enlarge field_angstrom, or use overlap: projected"
    )


def _draw_particles(recipe: SpecimenRecipe, stream: Streams, attempt: int) -> list[tuple[int, ParticleAtoms]]:
    """Return particles, each with the number of its population, what carries others first."""
    drawn, present = [], range(len(recipe.particles))
    if recipe.populations_per_field is not None:
        choice = stream("populations")
        size = choice.integers(*recipe.populations_per_field, endpoint=True)
        present = np.sort(choice.permutation(len(present))[:size]).tolist()
    for which in present:
        population = recipe.particles[which]
        low, high = population.count
        for i in range(int(stream("count", which, attempt).integers(low, high, endpoint=True))):
            particle = draw_particle(population, lambda name, w=which, k=i: stream(name, w, k, attempt))  # type: ignore[misc]
            if not len(particle.positions):
                raise BadInputError(
                    f"a {particle.truth.crystal} particle of {particle.truth.diameter:.3g} Å has no atoms left; enlarge diameter_angstrom, or lower vacancies or roughness"
                )
            drawn.append((which, particle))
    return sorted(drawn, key=lambda one: recipe.settles(one[0]))


def _lowered(
    recipe: SpecimenRecipe, flat: list[tuple[int, ParticleAtoms]], film: np.ndarray, thickness: float, stream: Streams
) -> list[ParticleAtoms]:
    """Return the particles moved along z: into the film, or onto it (from below: up to it) and onto particles placed before."""
    surface = {1.0: film[film[:, 2] > thickness - 3 * _CONTACT], -1.0: film[film[:, 2] < 3 * _CONTACT]}
    if recipe.substrate is not None and (recipe.substrate.relief or recipe.substrate.step):
        surface[-1.0] = film
    placed: list[ParticleAtoms] = []
    for number, (which, particle) in enumerate(flat):
        position = recipe.particles[which].position
        if position == "in":
            middle = float(np.ptp(particle.positions[:, 2])) / 2
            room = max(thickness / 2 - middle, 0.0)
            z = thickness / 2 + stream("depth", number).uniform(-room, room) - particle.positions[:, 2].min() - middle
            placed.append(particle.moved(np.array([0.0, 0.0, z])))
            continue
        # Under the film everything is the same, upside down.
        up = -1.0 if position == "under" else 1.0
        flip = np.array([1.0, 1.0, up])
        carriers = [surface[up]] + [p.positions for p in placed if recipe.overlap == "projected"]
        z = _drop_height(particle.positions * flip, np.concatenate(carriers) * flip, recipe.field_angstrom)
        if z is None:
            z = (thickness if up > 0 else 0.0) + _CONTACT - (particle.positions[:, 2] * up).min()
        placed.append(particle.moved(np.array([0.0, 0.0, z * up])))
    return placed


def _draw_places(
    recipe: SpecimenRecipe, radii: np.ndarray, carriers: list[list[int]], opening: Opening, rng: np.random.Generator
) -> np.ndarray | None:
    """Return centres, shape [n, 2] [Å], or None if this try found no room.

    Radii of the particles' projections [n] [Å]; carriers are for each particle those before it, over one of which its centre
    lies, none for anywhere outside the film's opening.
    """
    gap, field, across = recipe.gap_angstrom, recipe.field_angstrom, recipe.boundary == "across"
    places = np.empty((0, 2))

    def apart(tries: np.ndarray, others: np.ndarray) -> np.ndarray:
        away = tries[:, None] - others
        return np.asarray(np.linalg.norm(away - field * np.round(away / field) if across else away, axis=2))

    for i, radius in enumerate(radii):
        low = 0.0 if across else radius + gap / 2
        high = max(field - low, low)
        tries = rng.uniform(low, high, (50, 2))
        if carriers[i]:
            tries = _over(places[carriers[i]], radii[carriers[i]], rng)
            tries = tries % field if across else tries
            free = ((tries >= low) & (tries <= high)).all(axis=1)
            # Beside others that are carried, if there is room.
            others = np.setdiff1d(np.arange(i), carriers[i])
            beside = free & (apart(tries, places[others]) >= radius + radii[others] + gap).all(axis=1)
            free = beside if beside.any() else free
        else:
            free = ~opening.contains(tries)
            if recipe.overlap == "apart" and i:
                free &= (apart(tries, places) >= radius + radii[:i] + gap).all(axis=1)
        if not free.any():
            return None
        places = np.concatenate([places, tries[[int(free.argmax())]]])
    return places


def _over(centres: np.ndarray, radii: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 50 points, shape [50, 2] [Å], over the inner part of discs, which the rim's slope does not reach."""
    which = rng.integers(len(centres), size=50)
    angle, share = rng.uniform(0, 2 * np.pi, 50), 0.6 * np.sqrt(rng.uniform(size=50))
    away = (radii[which] * share)[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return np.asarray(centres[which] + away)


def _drop_height(particle: np.ndarray, below: np.ndarray, field: float) -> float | None:
    """Return how far along z a particle [N, 3] moves to rest on atoms below it [M, 3] of a periodic field, None for none [Å]."""
    box = np.array([field, field]) * (1 + 1e-12)
    pairs = cKDTree(particle[:, :2] % field, boxsize=box).sparse_distance_matrix(
        cKDTree(below[:, :2] % field, boxsize=box), _CONTACT, output_type="ndarray"
    )
    if not len(pairs):
        return None
    rise = np.sqrt(np.maximum(_CONTACT**2 - pairs["v"] ** 2, 0))
    return float((below[pairs["j"], 2] + rise - particle[pairs["i"], 2]).max())
