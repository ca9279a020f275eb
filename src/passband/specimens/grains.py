"""Grains: pieces of one crystal, turned, shifted or strained, that fill a convex outline with atoms."""

import re
import warnings
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import spglib
from scipy.spatial import HalfspaceIntersection, QhullError, cKDTree

from passband.base.errors import BadInputError
from passband.specimens.crystals import Crystal

# Atoms of two grains that lie this close are one atom of their common boundary, as a share of the nearest neighbour's distance.
_SAME = 0.6
# A point within this of a plane lies on it [Å]; grain boundaries pass through atoms.
_ON = 1e-3


_Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Outline:
    """The points within `radius` of a segment and behind every facet; each of the two may be absent.

    Attributes:
        normals: unit vectors of the facets, shape [F, 3]; F may be 0.
        distances: of the facets from the centre, shape [F] [Å].
        radius: of the rounded surface [Å]; infinite for a polyhedron.
        segment: half of the segment around which it is round, shape [3] [Å]; zero for a sphere.
    """

    normals: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))
    distances: np.ndarray = field(default_factory=lambda: np.empty(0))
    radius: float = np.inf
    segment: np.ndarray = field(default_factory=lambda: np.zeros(3))

    def depth(self, points: np.ndarray) -> np.ndarray:
        """Return how deep points [N, 3] lie below the surface, negative outside, shape [N] [Å]."""
        depth = np.full(len(points), np.inf)
        for normal, distance in zip(self.normals, self.distances, strict=True):
            depth = np.minimum(depth, distance - _dot(points, normal))
        if np.isfinite(self.radius):
            length = float(self.segment @ self.segment)
            along = np.clip(_dot(points, self.segment) / length, -1, 1) if length else np.zeros(len(points))
            offset = points - along[:, None] * self.segment
            depth = np.minimum(depth, self.radius - np.sqrt(_dot(offset, offset)))
        return depth

    def scaled(self, factor: float) -> "Outline":
        """Return the outline, larger by a factor."""
        return Outline(self.normals, self.distances * factor, self.radius * factor, self.segment * factor)

    def mapped(self, matrix: np.ndarray) -> "Outline":
        """Return the outline of the points matrix [3, 3] @ x; only a rotation keeps a rounded surface round."""
        normals = self.normals @ np.linalg.inv(matrix)
        lengths = np.linalg.norm(normals, axis=1)
        return Outline(normals / lengths[:, None], self.distances / lengths, self.radius, matrix @ self.segment)

    def within(self, other: "Outline") -> "Outline":
        """Return the part of this outline that lies in another, a polyhedron."""
        normals = np.concatenate([self.normals, other.normals])
        return replace(self, normals=normals, distances=np.concatenate([self.distances, other.distances]))

    def corners(self, inside: np.ndarray) -> np.ndarray:
        """Return the corners of a polyhedron, shape [C, 3] [Å]; a point [3] well inside has to be given."""
        return np.asarray(HalfspaceIntersection(np.column_stack([self.normals, -self.distances]), inside).intersections)

    def reach(self) -> float:
        """Return the radius of the circumscribed sphere around the centre [Å]."""
        if np.isfinite(self.radius):
            return float(self.radius + np.linalg.norm(self.segment))
        return float(np.linalg.norm(self.corners(np.zeros(3)), axis=1).max())


def _dot(points: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return Σ_i points_i vector_i: sums in a fixed order, which a matrix product does not promise."""
    v = np.broadcast_to(vector, points.shape)
    return points[:, 0] * v[:, 0] + points[:, 1] * v[:, 1] + points[:, 2] * v[:, 2]


def miller(text: str) -> tuple[int, int, int]:
    """Return Miller indices written as `111`, `1-10` or `10 0 -1`; ValueError unless they are three numbers, not all zero."""
    parts = text.split() if " " in text.strip() else re.findall(r"-?\d", text)
    if not re.fullmatch(r"\s*(-?\d){3}\s*|\s*-?\d+\s+-?\d+\s+-?\d+\s*", text) or not any(int(p) for p in parts):
        raise ValueError(
            f"{text!r} are no Miller indices; write three whole numbers, such as 111, '001' (in quotes) or 1-10"
        )
    h, k, m = (int(p) for p in parts)
    return h, k, m


@lru_cache(maxsize=64)
def _wulff(
    name: str, cell: _Rows, fractions: _Rows, numbers: tuple[int, ...], energies: tuple[tuple[str, float], ...]
) -> tuple[np.ndarray, np.ndarray]:
    crystal = Crystal(name, np.array(cell), np.array(fractions), np.array(numbers))
    # A second of imports, which other shapes do not need.
    from wulffpack import SingleCrystal

    with warnings.catch_warnings():
        # spglib warns WulffPack, not us, of its way to report errors.
        warnings.simplefilter("ignore", DeprecationWarning)
        data = spglib.get_symmetry_dataset((crystal.cell, crystal.fractions, crystal.numbers))
        turn, rotation = np.round(data.transformation_matrix), data.std_rotation_matrix
        if abs(data.transformation_matrix - turn).max() > 1e-3 or round(np.linalg.det(turn)) != 1:
            raise BadInputError(
                f"{name}: the cell is not the conventional one of its space group, in which Miller indices count; import its CIF, which brings it to that, or use the shape sphere, rod or random"
            )
        # WulffPack works in the standard setting: x' = turn x, and so h' = h turn⁻¹.
        indices = {tuple(np.rint(miller(k) @ np.linalg.inv(turn)).astype(int).tolist()): v for k, v in energies}
        particle = SingleCrystal(indices, primitive_structure=crystal.atoms(), natoms=1000)
    facets = [facet for form in particle.forms for facet in form.facets]
    normals = np.array([facet.normal for facet in facets]) @ rotation
    distances = np.array([facet.energy for facet in facets])
    return normals / np.linalg.norm(normals, axis=1)[:, None], distances


def wulff(crystal: Crystal, surface_energies: dict[str, float]) -> Outline:
    """Return the Wulff construction of a crystal, by WulffPack (Rahm and Erhart, JOSS 5 (2020) 1944).

    The relative surface energies, by Miller indices of the conventional cell, are the facets' distances [Å] until
    scaled; the crystal's point group repeats the facets. BadInputError if that leaves the particle open.
    """
    rows = [tuple(map(tuple, array.tolist())) for array in (crystal.cell, crystal.fractions)]
    energies = tuple(sorted(surface_energies.items()))
    try:
        normals, distances = _wulff(crystal.name, *rows, tuple(crystal.numbers.tolist()), energies)
    except BadInputError:
        raise
    except (ValueError, RuntimeError, IndexError, AssertionError, QhullError) as error:
        raise BadInputError(
            f"surface_energies {surface_energies} make no closed {crystal.name} particle ({' '.join(str(error).split())[:120]}); add facets"
        ) from None
    return Outline(normals, distances)


def random_polyhedron(facets: int, rng: np.random.Generator) -> Outline:
    """Return 6 or more facets at the same distance, in directions spread over the sphere as by a turned lattice."""
    i = np.arange(facets) + 0.5
    z, angle = 1 - 2 * i / facets, np.pi * (1 + 5**0.5) * i
    radius = np.sqrt(1 - z * z)
    normals = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z]) + rng.normal(0, 0.25, (facets, 3))
    return Outline(normals / np.linalg.norm(normals, axis=1)[:, None], np.ones(facets))


@dataclass(frozen=True)
class Grain:
    """A crystal's atoms at matrix @ x + shift, as far as they lie in the outline and between the walls to other grains.

    Attributes:
        matrix: from the crystal's axes to the particle's, shape [3, 3].
        shift: shape [3] [Å].
        outline: the surface, in the particle's axes.
        walls: planes towards other grains.
        centre: of a sphere around the grain, shape [3] [Å].
        reach: radius of that sphere [Å].
    """

    matrix: np.ndarray
    shift: np.ndarray
    outline: Outline
    walls: Outline
    centre: np.ndarray
    reach: float


def fill(crystal: Crystal, grains: list[Grain]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions [N, 3] [Å], atomic numbers [N] and the grain of each atom [N]; shared atoms count once."""
    parts = [_fill_one(crystal, grain) for grain in grains]
    positions, numbers = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    owner = np.repeat(np.arange(len(grains)), [len(p) for p, _ in parts])
    if len(grains) > 1:
        pairs = cKDTree(positions).query_pairs(_SAME * crystal.nearest_neighbour, output_type="ndarray")
        between = pairs[owner[pairs[:, 0]] != owner[pairs[:, 1]]]
        keep = np.ones(len(positions), dtype=bool)
        keep[between.max(axis=1)] = False
        positions, numbers, owner = positions[keep], numbers[keep], owner[keep]
    return positions, numbers, owner


def _fill_one(crystal: Crystal, grain: Grain) -> tuple[np.ndarray, np.ndarray]:
    # The sphere around the grain, in the crystal's axes: a little larger because a grain may be strained.
    inverse = np.linalg.inv(grain.matrix)
    centre = inverse @ (grain.centre - grain.shift)
    radius = grain.reach * np.linalg.norm(inverse, 2) + 1e-6
    to_fractions = np.linalg.inv(crystal.cell)
    middle = centre @ to_fractions
    extent = radius * np.linalg.norm(to_fractions, axis=0)
    axes = [np.arange(np.floor(m - e) - 1, np.ceil(m + e) + 1) for m, e in zip(middle, extent, strict=True)]
    corners = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    # Whole cells first: most of the box's corners need no look at their atoms.
    diagonal = np.linalg.norm(crystal.cell, axis=1).sum()
    near = np.linalg.norm(corners @ crystal.cell - centre, axis=1) <= radius + diagonal
    points = (corners[near][:, None] + crystal.fractions).reshape(-1, 3) @ (
        grain.matrix @ crystal.cell.T
    ).T + grain.shift
    numbers = np.tile(crystal.numbers, int(near.sum()))
    inside = np.minimum(grain.outline.depth(points), grain.walls.depth(points)) >= -_ON
    return points[inside], numbers[inside]
