"""Orientations of particles: uniform on the rotation group, or with a direction of the crystal near the beam."""

from typing import Annotated

import numpy as np
from pydantic import Field, field_validator
from scipy.spatial.transform import Rotation

from passband.base.frozen_model import FrozenModel
from passband.specimens.crystals import Crystal


class OrientationRecipe(FrozenModel):
    """How particles are turned; by default every rotation is equally likely.

    A texture is a zone axis for a share of the particles: fcc particles on a {111} facet have [1, 1, 1] along the beam.

    Attributes:
        zone_axes: directions [u, v, w] of the crystal, each equally likely along the beam; none means uniform.
        tilt_rad: standard deviation of the tilt away from the beam about each of two axes [rad].
        share: of the particles that follow the zone axes; the others are uniform.
    """

    zone_axes: list[tuple[int, int, int]] = Field(default=[], max_length=100)
    tilt_rad: Annotated[float, Field(ge=0, le=1.5, allow_inf_nan=False)] = 0.02
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0

    @field_validator("zone_axes")
    @classmethod
    def _directions(cls, axes: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        for axis in axes:
            if not any(axis) or max(map(abs, axis)) > 20:
                raise ValueError(f"zone axis {list(axis)}: give three whole numbers up to 20, not all zero")
        return axes


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
