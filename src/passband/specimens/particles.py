"""One particle: crystal, shape, orientation, defects and composition, each from its own stream of randomness."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from ase.data import atomic_numbers
from scipy.spatial.transform import Rotation

from passband.specimens.crystals import Crystal
from passband.specimens.defects import add_planar, random_strain, roughen, vacancies
from passband.specimens.grains import Grain, fill
from passband.specimens.recipes import OrientationRecipe, ParticleRecipe
from passband.specimens.shapes import draw_grains

Stream = Callable[[str], np.random.Generator]


@dataclass(frozen=True)
class Particle:
    """What is known of one particle.

    Attributes:
        crystal: name.
        shape: kind.
        centre: of its circumscribed sphere, in the field [Å], shape [3].
        diameter: of its circumscribed sphere [Å].
        lattices: for each grain the conventional cell in the field, a vector a row, shape [G, 3, 3] [Å]; the rotation of
            a grain is that of these vectors.
        volume_per_atom: of the crystal [Å³].
        twins: number of twin planes.
        stacking_faults: number of stacking faults.
    """

    crystal: str
    shape: str
    centre: np.ndarray
    diameter: float
    lattices: np.ndarray
    volume_per_atom: float
    twins: int
    stacking_faults: int


@dataclass(frozen=True)
class ParticleAtoms:
    """A particle and its atoms: positions [N, 3] [Å], atomic numbers [N], and the grain of each, from 0, [N]."""

    truth: Particle
    positions: np.ndarray
    numbers: np.ndarray
    grain: np.ndarray

    def moved(self, by: np.ndarray) -> "ParticleAtoms":
        """Return the particle moved by a vector, shape [3] [Å]."""
        return replace(self, positions=self.positions + by, truth=replace(self.truth, centre=self.truth.centre + by))


def draw_particle(recipe: ParticleRecipe, stream: Stream) -> ParticleAtoms:
    """Return one particle of a population around the origin.

    Size, shape, orientation, defects and composition come from separate streams, by name, so that two recipes that
    differ in one of them draw the same others.
    """
    crystal = recipe.crystal_used()
    crystal = replace(crystal, cell=crystal.cell * recipe.lattice_scale)
    diameter = recipe.diameter_angstrom.draw(stream("size"))
    grains = draw_grains(recipe.shape, crystal, diameter, stream("shape"))
    planar = stream("planar")
    twins, faults = (int(planar.integers(a, b, endpoint=True)) for a, b in (recipe.twins, recipe.stacking_faults))
    if twins + faults:
        grains = add_planar(crystal, grains[0], twins, faults, planar)
    positions, numbers, grain = fill(crystal, grains)
    numbers = _composed(recipe, grains, positions, numbers, grain, stream("composition"))
    keep = roughen(positions, 1.2 * crystal.nearest_neighbour, recipe.roughness, stream("surface"))
    keep &= vacancies(len(positions), recipe.vacancies, stream("vacancies"))
    turn = draw_orientation(recipe.orientation, crystal, stream("orientation")).as_matrix()
    turn = turn @ random_strain(recipe.strain, stream("strain"))
    lattices = np.stack([crystal.cell @ (turn @ g.matrix).T for g in grains])
    truth = Particle(
        crystal.name, recipe.shape.kind, np.zeros(3), diameter, lattices, crystal.volume_per_atom, twins, faults
    )
    return ParticleAtoms(truth, positions[keep] @ turn.T, numbers[keep], grain[keep])


def draw_orientation(recipe: OrientationRecipe, crystal: Crystal, rng: np.random.Generator) -> Rotation:
    """Return the rotation from the crystal's axes to the laboratory's, the beam along +z.

    Uniform: a random unit quaternion (Shoemake 1992).
    """
    uniform = Rotation.random(rng=rng)
    follows = rng.uniform() < recipe.share
    if not recipe.zone_axes or not follows:
        return uniform
    axis = np.asarray(recipe.zone_axes[int(rng.integers(len(recipe.zone_axes)))]) @ crystal.cell
    aligned, _ = Rotation.align_vectors([[0.0, 0.0, 1.0]], [axis / np.linalg.norm(axis)])
    around = Rotation.from_euler("z", rng.uniform(0, 2 * np.pi))
    tilt = Rotation.from_rotvec([*(recipe.tilt_rad * rng.standard_normal(2)), 0.0])
    return tilt * around * aligned


def _composed(
    recipe: ParticleRecipe,
    grains: list[Grain],
    positions: np.ndarray,
    numbers: np.ndarray,
    grain: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return atomic numbers after alloying and with a shell."""
    result = numbers.copy()
    lots = rng.uniform(size=len(numbers))
    for source, targets in recipe.alloy.items():
        of_source = numbers == atomic_numbers[source]
        start = 0.0
        for target, share in targets.items():
            result[of_source & (lots >= start) & (lots < start + share)] = atomic_numbers[target]
            start += share
    if recipe.shell is not None:
        depth = np.empty(len(positions))
        # Planes between grains are no surface.
        for i, one in enumerate(grains):
            depth[grain == i] = one.outline.depth(positions[grain == i])
        in_shell = depth < recipe.shell.thickness_angstrom.draw(rng)
        for source, target in recipe.shell.replace.items():
            result[in_shell & (numbers == atomic_numbers[source])] = atomic_numbers[target]
    return result
