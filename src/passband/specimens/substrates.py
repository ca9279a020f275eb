"""Amorphous films, cut from blocks that were made once by molecular dynamics."""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Annotated, Literal

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from pydantic import Field, field_validator, model_validator
from scipy.constants import atomic_mass
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from passband.base.distribution import Distribution
from passband.base.errors import BadInputError, parameter
from passband.base.frozen_model import FrozenModel
from passband.specimens.crystals import nearest

# Mass densities of the blocks [g/cm³], the usual one first, and their formula.
_MATERIALS: dict[str, tuple[list[float], dict[str, int]]] = {
    "carbon": ([2.0, 1.8, 2.2], {"C": 1}),
    "silica": ([2.2], {"Si": 1, "O": 2}),
    "silicon_nitride": ([3.0], {"Si": 3, "N": 4}),
}
# No two atoms of these elements come closer where a cut film meets its periodic image [Å].
_APART = {("C", "C"): 1.26, ("O", "Si"): 1.5, ("O", "O"): 2.2, ("Si", "Si"): 2.33, ("N", "Si"): 1.6, ("N", "N"): 2.05}
# Blocks are searched in pieces of about this size [Å].
_PIECE = 12.0
# Pairs of atoms are tracked up to this much beyond the least distance [Å].
_MARGIN = 0.8


class Hole(FrozenModel):
    """A round hole through the film, in which there is vacuum, in a share of the fields."""

    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    radius_angstrom: Distribution = Distribution(uniform=[10.0, 20.0])

    @field_validator("radius_angstrom")
    @classmethod
    def _above_zero(cls, radius: Distribution) -> Distribution:
        if radius.bounds()[0] <= 0:
            raise ValueError(f"radius_angstrom: reaches down to {radius.bounds()[0]:g}; use radii above 0 Å")
        return radius


class Edge(FrozenModel):
    """An edge through a share of the fields, beyond which there is vacuum; waviness is its standard deviation from a line [Å]."""

    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 1.0
    waviness_angstrom: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 3.0


class SubstrateRecipe(FrozenModel):
    """An amorphous film.

    Attributes:
        material: carbon, silica (SiO2) or silicon_nitride (Si3N4).
        density_g_per_cm3: one of those made: carbon 1.8, 2.0 (default) or 2.2, silica 2.2, silicon nitride 3.0 [g/cm³].
    """

    material: Literal["carbon", "silica", "silicon_nitride"] = "carbon"
    density_g_per_cm3: float = Field(default=0.0, ge=0, le=25)
    thickness_angstrom: Distribution = Distribution(uniform=[20.0, 30.0])
    hole: Hole | None = None
    edge: Edge | None = None

    @model_validator(mode="before")
    @classmethod
    def _usual_density(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("material", "carbon") in _MATERIALS:
            return {"density_g_per_cm3": _MATERIALS[given.get("material", "carbon")][0][0], **given}
        return given

    @model_validator(mode="after")
    def _made(self) -> "SubstrateRecipe":
        densities = _MATERIALS[self.material][0]
        if self.density_g_per_cm3 not in densities:
            raise ValueError(
                f"density_g_per_cm3 {self.density_g_per_cm3:g}: {self.material} is made with {', '.join(f'{d:g}' for d in densities)} g/cm³; use one of these"
            )
        low, high = self.thickness_angstrom.bounds()
        if not 4 <= low <= high <= 1000:
            raise ValueError(f"thickness_angstrom: reaches from {low:.4g} to {high:.4g} Å; keep it within 4 to 1000 Å")
        return self

    def elements(self) -> set[str]:
        """Return the symbols of its elements."""
        return set(_MATERIALS[self.material][1])


def check_support(material: str, *more: str) -> None:
    """Raise BadInputError for a support that is neither a material of films, none, nor one of some more."""
    known = [*dict.fromkeys([*_MATERIALS, *more, "none"])]
    if material.lower() not in (k.lower() for k in known):
        what = f"{parameter('support')} {material!r} is not a known material"
        raise BadInputError(what, value=material, limit=known, remedy=nearest(material, known))


def number_density(recipe: SubstrateRecipe) -> float:
    """Return the number of atoms per Å³."""
    formula = _MATERIALS[recipe.material][1]
    mass = sum(n * atomic_masses[atomic_numbers[symbol]] for symbol, n in formula.items()) / sum(formula.values())
    return float(recipe.density_g_per_cm3 * 1e-27 / (mass * atomic_mass))


@dataclass(frozen=True)
class Block:
    """A cube of amorphous material, periodic in three directions, sorted into cubic pieces.

    Edge [Å], positions [N, 3] [Å], atomic numbers [N], where each piece begins, in the order of x, y, z, [pieces³ + 1], and the
    number of pieces along each edge.
    """

    edge: float
    positions: np.ndarray
    numbers: np.ndarray
    starts: np.ndarray
    pieces: int


@lru_cache(maxsize=8)
def block(material: str, density: float) -> Block:
    """Return a block of the package's data, of a density [g/cm³] that `tools/make_amorphous_blocks.py` made."""
    data = files("passband.specimens").joinpath("blocks", f"{material}_{density:.1f}.npz").read_bytes()
    with np.load(BytesIO(data), allow_pickle=False) as arrays:
        edge, fractions, numbers = float(arrays["edge_angstrom"]), arrays["fractions"] / 65536.0, arrays["numbers"]
    pieces = max(1, int(edge / _PIECE))
    index = np.floor(fractions * pieces).astype(int)
    piece = (index[:, 0] * pieces + index[:, 1]) * pieces + index[:, 2]
    order = np.argsort(piece, kind="stable")
    starts = np.searchsorted(piece[order], np.arange(pieces**3 + 1))
    return Block(edge, fractions[order] * edge, numbers[order].astype(int), starts, pieces)


def draw_film(recipe: SubstrateRecipe, field: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions [N, 3] [Å], atomic numbers [N] and thickness [Å] of a film from z = 0 up, periodic in x and y.

    The film is a slab of the endlessly repeated block, turned and shifted at random, so that no two films are alike.
    Where it meets its periodic image atoms that come too close are moved apart; none is added or lost.
    """
    thickness = recipe.thickness_angstrom.draw(rng)
    source = block(recipe.material, recipe.density_g_per_cm3)
    turn = Rotation.random(rng=rng).as_matrix()
    origin = rng.uniform(0, source.edge, 3)
    positions, numbers = _cut(source, turn, origin, np.array([field, field, thickness]))
    return _separate_across_seams(positions, numbers, field), numbers, thickness


def _cut(source: Block, turn: np.ndarray, origin: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what of the repeated block lies in a box: x = turn @ (y - origin), 0 <= x < size."""
    step = source.edge / source.pieces
    reach = step * np.sqrt(3) / 2
    corners = np.array(list(itertools.product(*((-reach, s + reach) for s in size)))) @ turn + origin
    low, high = np.floor(corners.min(axis=0) / step), np.ceil(corners.max(axis=0) / step)
    axes = [np.arange(a, b, dtype=int) for a, b in zip(low, high, strict=True)]
    cells = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    middles = ((cells + 0.5) * step - origin) @ turn.T
    cells = cells[((middles >= -reach) & (middles <= size + reach)).all(axis=1)]
    whole, inner = np.divmod(cells, source.pieces)
    piece = (inner[:, 0] * source.pieces + inner[:, 1]) * source.pieces + inner[:, 2]
    counts = source.starts[piece + 1] - source.starts[piece]
    # Atom k of the i-th piece: its number in the block is the piece's start plus k.
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    atom = np.repeat(source.starts[piece], counts) + within
    shift = np.repeat(whole * source.edge - origin, counts, axis=0)
    positions = (source.positions[atom] + shift) @ turn.T
    inside = ((positions >= 0) & (positions < size)).all(axis=1)
    return positions[inside], source.numbers[atom[inside]]


def _separate_across_seams(positions: np.ndarray, numbers: np.ndarray, field: float) -> np.ndarray:
    """Return positions with atoms moved apart that are too close across the periodic boundary."""
    symbols = np.unique(numbers)
    least = np.zeros((symbols.max(initial=0) + 1,) * 2)
    for a, b in itertools.product(symbols, repeat=2):
        least[a, b] = _APART[tuple(sorted((chemical_symbols[a], chemical_symbols[b])))]
    band = 5.0
    near = np.flatnonzero(((positions[:, :2] < band) | (positions[:, :2] > field - band)).any(axis=1))
    height = float(positions[:, 2].max(initial=0))
    # A period beyond reach along z is none. Pairs within a margin are listed once; no atom moves farther than that.
    box = np.array([field, field, 3 * height + 30])
    local, kinds = positions[near], numbers[near]
    pairs = cKDTree(np.minimum(local + np.array([0, 0, 10]), box * (1 - 1e-12)), boxsize=box).query_pairs(
        least.max() + _MARGIN, output_type="ndarray"
    )
    pairs = pairs[np.lexsort(pairs.T)]
    wanted = least[kinds[pairs[:, 0]], kinds[pairs[:, 1]]]
    for _ in range(60):
        apart = local[pairs[:, 0]] - local[pairs[:, 1]]
        apart[:, :2] -= field * np.round(apart[:, :2] / field)
        distance = np.sqrt((apart**2).sum(axis=1))
        close = distance < wanted - 1e-3
        if not close.any():
            break
        step = 0.55 * (wanted[close] - distance[close]) / np.maximum(distance[close], 1e-3)
        push = apart[close] * step[:, None]
        for axis in range(3):
            local[:, axis] += np.bincount(pairs[close, 0], push[:, axis], len(local))
            local[:, axis] -= np.bincount(pairs[close, 1], push[:, axis], len(local))
        local[:, 2] = np.clip(local[:, 2], 0, height)
    result = positions.copy()
    result[near] = local
    result[:, :2] %= field
    return result


def draw_opening(recipe: SubstrateRecipe, field: float, rng: np.random.Generator) -> "Opening":
    """Return where the film is missing in a field [Å]."""
    hole = edge = None
    shares = rng.uniform(size=2)
    if recipe.hole is not None and shares[0] < recipe.hole.share:
        hole = (rng.uniform(0, field, 2), recipe.hole.radius_angstrom.draw(rng))
    if recipe.edge is not None and shares[1] < recipe.edge.share:
        angle = rng.uniform(0, 2 * np.pi)
        waves = recipe.edge.waviness_angstrom * rng.standard_normal(3) * np.sqrt(2 / 3)
        edge = (angle, rng.uniform(-0.25, 0.25) * field, waves, rng.uniform(0, 2 * np.pi, 3))
    return Opening(field, hole, edge)


@dataclass(frozen=True)
class Opening:
    """The part of a field [Å] without film: a hole, what lies beyond an edge, or both.

    Attributes:
        field: side of the field [Å].
        hole: centre [2] and radius [Å].
        edge: angle of its normal [rad], distance from the field's centre [Å], amplitudes and phases of three waves [3].
    """

    field: float
    hole: tuple[np.ndarray, float] | None = None
    edge: tuple[float, float, np.ndarray, np.ndarray] | None = None

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return whether points [N, 2] lie in the opening, bool, shape [N]."""
        result = np.zeros(len(points), dtype=bool)
        if self.hole is not None:
            away = points - self.hole[0]
            away -= self.field * np.round(away / self.field)
            result |= np.hypot(away[:, 0], away[:, 1]) < self.hole[1]
        if self.edge is not None:
            angle, distance, waves, phases = self.edge
            centred = points - self.field / 2
            across = centred[:, 0] * np.cos(angle) + centred[:, 1] * np.sin(angle)
            along = -centred[:, 0] * np.sin(angle) + centred[:, 1] * np.cos(angle)
            for k, (wave, phase) in enumerate(zip(waves, phases, strict=True), start=1):
                across = across + wave * np.sin(2 * np.pi * k * along / self.field + phase)
            result |= across > distance
        return result
