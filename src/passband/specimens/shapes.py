"""Shapes of particles: from a recipe to the grains that fill it."""

import itertools
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator
from scipy.spatial.transform import Rotation

from passband.base.distribution import Distribution
from passband.base.errors import BadInputError
from passband.base.frozen_model import FrozenModel
from passband.specimens.crystals import Crystal
from passband.specimens.grains import Grain, Outline, miller, random_polyhedron, wulff

_FIVEFOLD = 2 * np.pi / 5
# Of each grain: matrix, inner normals of its twin planes, and a point inside (crystal axes).
Frames = list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def _as_text(energies: Any) -> Any:
    # YAML reads 111 as a number; 001 would be 1, and is refused for want of three digits.
    return {str(k): v for k, v in energies.items()} if isinstance(energies, dict) else energies


_Energy = Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)]
Energies = Annotated[dict[str, _Energy], BeforeValidator(_as_text)]
# Relative standard deviation of each facet's distance from the centre.
Variation = Annotated[float, Field(ge=0, le=0.3, allow_inf_nan=False)]


class Wulff(FrozenModel):
    """The equilibrium shape, with every facet's distance varied independently: deposited particles lack the crystal's symmetry.

    Attributes:
        surface_energies: relative, by Miller indices such as 111 or 1-10; the library's if left out.
    """

    kind: Literal["wulff"] = "wulff"
    surface_energies: Energies | None = None
    variation: Variation = 0.08

    @field_validator("surface_energies")
    @classmethod
    def _indices(cls, energies: Energies | None) -> Energies | None:
        for text in energies or ():
            miller(text)
        return energies

    def outline(self, crystal: Crystal, rng: np.random.Generator) -> Outline:
        """Return the outline at an arbitrary scale, in the crystal's axes."""
        return _varied(wulff(crystal, self.surface_energies or crystal.surface_energies), self.variation, rng)


class TruncatedOctahedron(FrozenModel):
    """{111} and {100} facets of a cubic crystal.

    Attributes:
        ratio: distance of {100} over that of {111}: 0.866 is a cuboctahedron, 1.155 has regular hexagons, 1.732 is an
            octahedron.
    """

    kind: Literal["truncated_octahedron"] = "truncated_octahedron"
    ratio: float = Field(default=1.155, ge=0.58, le=1.74)
    variation: Variation = 0.0

    def outline(self, crystal: Crystal, rng: np.random.Generator) -> Outline:
        """Return the outline at an arbitrary scale, in the crystal's axes."""
        _require_cubic(crystal, self.kind)
        return _varied(wulff(crystal, {"111": 1.0, "-1-1-1": 1.0, "100": self.ratio}), self.variation, rng)


class RandomFacets(FrozenModel):
    """Facets in random directions, of no crystal's making: rough or dissolved particles."""

    kind: Literal["random"] = "random"
    facets: int = Field(default=16, ge=8, le=60, strict=True)
    variation: Variation = 0.1

    def outline(self, crystal: Crystal, rng: np.random.Generator) -> Outline:
        """Return the outline at an arbitrary scale, in the crystal's axes."""
        return _varied(random_polyhedron(self.facets, rng), self.variation, rng)


class Sphere(FrozenModel):
    """A sphere."""

    kind: Literal["sphere"] = "sphere"

    def outline(self, crystal: Crystal, rng: np.random.Generator) -> Outline:
        """Return the unit sphere."""
        return Outline(radius=1.0)


class Rod(FrozenModel):
    """A cylinder with half spheres at its ends; the recipe's diameter is its length.

    Attributes:
        aspect_ratio: length over thickness.
        axis: direction [uvw] of the crystal along the rod.
    """

    kind: Literal["rod"] = "rod"
    aspect_ratio: Distribution = Distribution(uniform=[2.0, 4.0])
    axis: tuple[int, int, int] = (0, 0, 1)

    @field_validator("aspect_ratio")
    @classmethod
    def _at_least_one(cls, ratio: Distribution) -> Distribution:
        low, high = ratio.bounds()
        if low < 1 or high > 50:
            raise ValueError(f"aspect_ratio reaches from {low:g} to {high:g}; keep it within 1 to 50")
        return ratio

    @field_validator("axis")
    @classmethod
    def _some_direction(cls, axis: tuple[int, int, int]) -> tuple[int, int, int]:
        if not any(axis):
            raise ValueError("axis [0, 0, 0] is no direction; give [u, v, w] such as [0, 0, 1]")
        return axis

    def outline(self, crystal: Crystal, rng: np.random.Generator) -> Outline:
        """Return the outline at an arbitrary scale, in the crystal's axes."""
        ratio = self.aspect_ratio.draw(rng)
        direction = np.asarray(self.axis) @ crystal.cell
        segment = direction / np.linalg.norm(direction) * (ratio - 1)
        return Outline(radius=1.0, segment=segment)


class Twinned(FrozenModel):
    """Fcc grains around a common [110] axis (decahedron) or a point (icosahedron): the modified Wulff construction (Marks 1983)."""

    kind: Literal["decahedron", "icosahedron"]
    variation: Variation = 0.04


ShapeRecipe = Annotated[
    Wulff | TruncatedOctahedron | RandomFacets | Sphere | Rod | Twinned, Field(discriminator="kind")
]


def draw_grains(shape: ShapeRecipe, crystal: Crystal, diameter: float, rng: np.random.Generator) -> list[Grain]:
    """Return the grains of a particle of a circumscribed diameter [Å] around the origin; BadInputError for a wrong crystal.

    A single crystal is placed at random relative to its outline; grains of a multiply twinned particle share an atom in
    the centre.
    """
    if isinstance(shape, Twinned):
        frames = _decahedron_frames() if shape.kind == "decahedron" else _icosahedron_frames()
        return _twinned(crystal, frames, shape.variation, diameter, rng)
    outline = shape.outline(crystal, rng)
    shift = -rng.uniform(0, 1, 3) @ crystal.cell
    outline = outline.scaled(diameter / 2 / outline.reach())
    return [Grain(np.eye(3), shift, outline, Outline(), np.zeros(3), diameter / 2)]


def _twinned(
    crystal: Crystal, frames: Frames, variation: float, diameter: float, rng: np.random.Generator
) -> list[Grain]:
    outline = wulff(crystal, crystal.surface_energies)
    surfaces = [_varied(outline, variation, rng).mapped(matrix) for matrix, _, _ in frames]
    walls = [Outline(-inner, np.zeros(len(inner))).mapped(matrix) for matrix, inner, _ in frames]
    corners = [s.within(w).corners(m @ inside) for s, w, (m, _, inside) in zip(surfaces, walls, frames, strict=True)]
    factor = diameter / 2 / max(float(np.linalg.norm(c, axis=1).max()) for c in corners)
    grains = []
    for (matrix, _, _), surface, wall, corner in zip(frames, surfaces, walls, corners, strict=True):
        centre = (corner * factor).mean(axis=0)
        reach = float(np.linalg.norm(corner * factor - centre, axis=1).max())
        grains.append(Grain(matrix, np.zeros(3), surface.scaled(factor), wall, centre, reach))
    return grains


def _varied(outline: Outline, variation: float, rng: np.random.Generator) -> Outline:
    # Beyond three standard deviations a facet would cut off half of a particle.
    factors = 1 + variation * np.clip(rng.standard_normal(len(outline.distances)), -3, 3)
    return replace(outline, distances=outline.distances * factors)


def _require_cubic(crystal: Crystal, kind: str) -> None:
    lengths = np.linalg.norm(crystal.cell, axis=1)
    if not np.allclose(crystal.cell, np.diag(lengths), atol=1e-6) or not np.allclose(lengths, lengths[0], rtol=1e-6):
        raise BadInputError(f"shape {kind}: needs a cubic crystal, and {crystal.name} is not; use the shape wulff")


def _decahedron_frames() -> Frames:
    """Return the five grains of a decahedron; their twins cost no energy."""
    axis, outward = np.array([1.0, 1.0, 0.0]) / np.sqrt(2), np.array([0.0, 0.0, 1.0])
    turn = np.array([outward, np.cross(axis, outward), axis])
    # Two {111} planes enclose 70.53°; the grain is stretched across to fill 72°.
    stretch = np.diag([1.0, np.tan(_FIVEFOLD / 2) * np.sqrt(2), 1.0])
    inner = np.array([[-1.0, 1.0, 1.0], [1.0, -1.0, 1.0]]) / np.sqrt(3)
    around = [Rotation.from_euler("z", k * _FIVEFOLD).as_matrix() for k in range(5)]
    return [(rotation @ stretch @ turn, inner, 0.1 * outward) for rotation in around]


def _icosahedron_frames() -> Frames:
    """Return the twenty grains of an icosahedron (Mackay 1962)."""
    edges = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]) / np.sqrt(2)
    inner = np.linalg.inv(edges).T
    inner /= np.linalg.norm(inner, axis=1)[:, None]
    golden = (1 + 5**0.5) / 2
    corners = np.array(
        [np.roll([0.0, s, t * golden], r) for r in range(3) for s, t in itertools.product((1, -1), repeat=2)]
    ) / np.sqrt(1 + golden**2)
    frames = []
    for i, j, k in itertools.combinations(range(12), 3):
        face = corners[[i, j, k]]
        # Neighbouring corners lie 63.43° apart.
        if np.allclose([face[0] @ face[1], face[1] @ face[2], face[2] @ face[0]], 1 / np.sqrt(5)):
            if np.linalg.det(face) * np.linalg.det(edges) < 0:
                face = face[[1, 0, 2]]
            frames.append(((np.linalg.inv(edges) @ face).T, inner, 0.05 * edges.sum(axis=0)))
    return frames
