"""Grains: pieces of one crystal, turned, shifted or strained, that fill an outline with atoms."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from passband.specimens.crystals import Crystal
from passband.specimens.outlines import Outline

# Atoms of two grains that lie this close are one atom of their common boundary, as a share of the nearest neighbour's distance.
_SAME = 0.6
# A point within this of a plane lies on it [Å]; grain boundaries pass through atoms.
_ON = 1e-3


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
    positions = np.concatenate([p for p, _ in parts])
    numbers = np.concatenate([z for _, z in parts])
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
