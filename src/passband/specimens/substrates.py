"""Amorphous films, cut from blocks that were made once by molecular dynamics."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from typing import Annotated, Any, Literal

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols
from pydantic import (
    AfterValidator,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from scipy.constants import atomic_mass
from scipy.ndimage import map_coordinates
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
# Between a film and the contamination on it [Å]: about a bond of carbon.
_GAP = 1.5
# Samples of a smooth field over its correlation length.
_SAMPLES = 4
# Pairs of atoms are tracked up to this much beyond the least distance [Å].
_MARGIN = 0.8


def _ascending(pair: tuple[int, int]) -> tuple[int, int]:
    if pair[0] > pair[1]:
        raise ValueError(f"range {list(pair)} runs downwards; write [fewest, most]")
    return pair


Count = Annotated[int, Field(ge=0, le=10_000, strict=True)]
CountRange = Annotated[tuple[Count, Count], AfterValidator(_ascending)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Waviness = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


def _within(name: str, given: Distribution, least: float, most: float) -> Distribution:
    low, high = given.bounds()
    if low < least or high > most:
        raise ValueError(f"{name}: reaches from {low:.4g} to {high:.4g} Å; keep it within {least:g} to {most:g} Å")
    return given


class Hole(FrozenModel):
    """A round hole through the film, in which there is vacuum, in a share of the fields."""

    share: Share = 1.0
    radius_angstrom: Distribution = Distribution(uniform=[10.0, 20.0])

    @field_validator("radius_angstrom")
    @classmethod
    def _above_zero(cls, radius: Distribution) -> Distribution:
        if radius.bounds()[0] <= 0:
            raise ValueError(f"radius_angstrom: reaches down to {radius.bounds()[0]:g}; use radii above 0 Å")
        return radius


class Edge(FrozenModel):
    """An edge through a share of the fields, beyond which there is vacuum; waviness is its standard deviation from a line [Å]."""

    share: Share = 1.0
    waviness_angstrom: Waviness = 3.0


class Step(FrozenModel):
    """A step in the thickness along a wavy line through a share of the fields.

    Attributes:
        share: of the fields.
        height_angstrom: added beyond the line; a film that becomes thinner has a negative one [Å].
        waviness_angstrom: standard deviation of the line from a straight one [Å].
    """

    share: Share = 1.0
    height_angstrom: Distribution = Distribution(uniform=[-10.0, 10.0])
    waviness_angstrom: Waviness = 3.0

    @field_validator("height_angstrom")
    @classmethod
    def _bounded(cls, height: Distribution) -> Distribution:
        return _within("height_angstrom", height, -500, 500)


class Relief(FrozenModel):
    """A thickness that varies over the film: a random field, normal about the film's thickness.

    Attributes:
        deviation_angstrom: its standard deviation, drawn for each field [Å].
        length_angstrom: L of its correlation exp(−r² / 2 L²), drawn for each field [Å].
    """

    deviation_angstrom: Distribution = Distribution(uniform=[0.0, 5.0])
    length_angstrom: Distribution = Distribution(uniform=[10.0, 50.0])

    @model_validator(mode="after")
    def _bounded(self) -> "Relief":
        _within("deviation_angstrom", self.deviation_angstrom, 0, 200)
        _within("length_angstrom", self.length_angstrom, 2, 1000)
        return self


class Voids(FrozenModel):
    """Closed round pores at random places in the film.

    Attributes:
        count: fewest and most in a field.
        radius_angstrom: of each [Å].
    """

    count: CountRange = (1, 5)
    radius_angstrom: Distribution = Distribution(uniform=[3.0, 8.0])

    @field_validator("radius_angstrom")
    @classmethod
    def _bounded(cls, radius: Distribution) -> Distribution:
        return _within("radius_angstrom", radius, 1, 200)


class Contamination(FrozenModel):
    """Amorphous carbon that lies in patches on the film and between the particles of a share of the fields.

    Attributes:
        share: of the fields.
        thickness_angstrom: mean of a random field, whose standard deviation is as large; there is none where the field is negative [Å].
        length_angstrom: L of its correlation exp(−r² / 2 L²) [Å].
    """

    share: Share = 1.0
    thickness_angstrom: Distribution = Distribution(uniform=[2.0, 15.0])
    length_angstrom: Distribution = Distribution(uniform=[20.0, 80.0])

    @model_validator(mode="after")
    def _bounded(self) -> "Contamination":
        _within("thickness_angstrom", self.thickness_angstrom, 1, 300)
        _within("length_angstrom", self.length_angstrom, 2, 1000)
        return self


class SubstrateRecipe(FrozenModel):
    """An amorphous film.

    Relief and step are on the lower face; the upper one, on which particles lie, is flat. A film is at least as thick as nothing.

    Attributes:
        material: carbon, silica (SiO2) or silicon_nitride (Si3N4).
        density_g_per_cm3: one of those made: carbon 1.8, 2.0 (default) or 2.2, silica 2.2, silicon nitride 3.0 [g/cm³].
        thickness_angstrom: before relief and step [Å].
        hole: a hole through it.
        edge: an edge, beyond which there is vacuum.
        relief: thickness that varies.
        step: a step of the thickness.
        voids: pores in it.
        contamination: carbon on it.
    """

    material: Literal["carbon", "silica", "silicon_nitride"] = "carbon"
    density_g_per_cm3: float = Field(default=0.0, ge=0, le=25)
    thickness_angstrom: Distribution = Distribution(uniform=[20.0, 30.0])
    hole: Hole | None = None
    edge: Edge | None = None
    relief: Relief | None = None
    step: Step | None = None
    voids: Voids | None = None
    contamination: Contamination | None = None

    @model_serializer(mode="wrap")
    def _without_later_fields(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit later fields where they are absent, which keeps the ids of recipes that were written before there were others."""
        content: dict[str, Any] = write(self)
        later = {"relief", "step", "voids", "contamination"}
        return {name: value for name, value in content.items() if name not in later or value is not None}

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
        return set(_MATERIALS[self.material][1]) | ({"C"} if self.contamination else set())

    def thickest(self) -> float:
        """Return a thickness that relief, step and contamination hardly exceed [Å]."""
        more = 0.0 if self.relief is None else 3 * self.relief.deviation_angstrom.bounds()[1]
        more += 0.0 if self.step is None else max(self.step.height_angstrom.bounds()[1], 0.0)
        more += 0.0 if self.contamination is None else self.contamination.thickness_angstrom.bounds()[1]
        return self.thickness_angstrom.bounds()[1] + more


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


def draw_film(
    recipe: SubstrateRecipe, field: float, rng: np.random.Generator, relief: np.random.Generator | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return positions [N, 3] [Å], atomic numbers [N] and thickness [Å] of a film from z = 0 up, periodic in x and y.

    The film is a slab of the endlessly repeated block, turned and shifted at random, so that no two films are alike.
    Where it meets its periodic image atoms that come too close are moved apart; none is added or lost. With a generator for them, relief,
    step and voids change the film below z = thickness, to below z = 0.
    """
    thickness = recipe.thickness_angstrom.draw(rng)
    source = block(recipe.material, recipe.density_g_per_cm3)
    turn = Rotation.random(rng=rng).as_matrix()
    origin = rng.uniform(0, source.edge, 3)
    parts: list[Thickness] = []
    if relief is not None and recipe.relief is not None:
        parts.append(smooth(field, recipe.relief.deviation_angstrom, recipe.relief.length_angstrom, relief))
    if relief is not None and recipe.step is not None and relief.uniform() < recipe.step.share:
        height, line = (
            recipe.step.height_angstrom.draw(relief),
            _draw_line(recipe.step.waviness_angstrom, field, relief),
        )
        parts.append(Thickness(lambda points: height * line.beyond(points), max(height, 0.0)))
    more = sum(part.most for part in parts)
    positions, numbers = _cut(source, turn, origin, np.array([field, field, thickness + more]))
    positions = _separate_across_seams(positions, numbers, field) - [0, 0, more]
    if parts:
        deep = thickness - positions[:, 2]
        stays = deep <= thickness + sum(part.at(positions[:, :2]) for part in parts)
        positions, numbers = positions[stays], numbers[stays]
    if relief is not None and recipe.voids is not None:
        for _ in range(int(relief.integers(*recipe.voids.count, endpoint=True))):
            radius, centre = (
                recipe.voids.radius_angstrom.draw(relief),
                relief.uniform(size=3) * [field, field, thickness],
            )
            away = positions - centre
            away[:, :2] -= field * np.round(away[:, :2] / field)
            stays = (away**2).sum(1) > radius**2
            positions, numbers = positions[stays], numbers[stays]
    return positions, numbers, thickness


def draw_contamination(recipe: Contamination, field: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return positions [N, 3] [Å], z = 0 being the face that it lies on, and atomic numbers [N] of a field's contamination."""
    if rng.uniform() >= recipe.share:
        return np.empty((0, 3)), np.empty(0, dtype=int)
    mean = recipe.thickness_angstrom.draw(rng)
    varies = smooth(field, Distribution(values=[mean]), recipe.length_angstrom, rng)
    film = SubstrateRecipe(thickness_angstrom=Distribution(values=[max(mean + varies.most, 4.0)]))
    positions, numbers, _ = draw_film(film, field, rng)
    stays = positions[:, 2] < mean + varies.at(positions[:, :2])
    return positions[stays] + [0, 0, _GAP], numbers[stays]


@dataclass(frozen=True)
class Thickness:
    """A thickness as a function of places [N, 2], shape [N], and the most that it reaches [Å]."""

    at: Callable[[np.ndarray], np.ndarray]
    most: float


def smooth(field: float, deviation: Distribution, length: Distribution, rng: np.random.Generator) -> Thickness:
    """Return a random normal field of mean 0, periodic over `field`, with the correlation exp(−r² / 2 L²) of a length L drawn [Å]."""
    scale, reach = deviation.draw(rng), length.draw(rng)
    n = int(np.clip(np.ceil(_SAMPLES * field / reach), 8, 1024))
    k = np.fft.fftfreq(n, field / n)
    # The root of the correlation's spectrum.
    weight = np.exp(-((np.pi * reach) ** 2) * (k[:, None] ** 2 + k**2))
    weight *= n / np.sqrt((weight**2).sum())
    values = scale * np.fft.ifft2(np.fft.fft2(rng.standard_normal((n, n))) * weight).real

    def at(points: np.ndarray) -> np.ndarray:
        return np.asarray(map_coordinates(values, points.T * n / field, order=1, mode="grid-wrap"))

    return Thickness(at, float(max(values.max(), 0.0)))


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
        edge = _draw_line(recipe.edge.waviness_angstrom, field, rng)
    return Opening(field, hole, edge)


def _draw_line(waviness: float, field: float, rng: np.random.Generator) -> "Line":
    angle = rng.uniform(0, 2 * np.pi)
    waves = waviness * rng.standard_normal(3) * np.sqrt(2 / 3)
    return Line(field, angle, rng.uniform(-0.25, 0.25) * field, waves, rng.uniform(0, 2 * np.pi, 3))


@dataclass(frozen=True)
class Line:
    """A wavy line through a field.

    Attributes:
        field: side of the field [Å].
        angle: of its normal [rad].
        distance: from the field's centre [Å].
        waves: amplitudes of three waves along it, [3] [Å].
        phases: of them, [3] [rad].
    """

    field: float
    angle: float
    distance: float
    waves: np.ndarray
    phases: np.ndarray

    def beyond(self, points: np.ndarray) -> np.ndarray:
        """Return whether points [N, 2] lie beyond the line, bool, shape [N]."""
        centred = points - self.field / 2
        across = centred[:, 0] * np.cos(self.angle) + centred[:, 1] * np.sin(self.angle)
        along = -centred[:, 0] * np.sin(self.angle) + centred[:, 1] * np.cos(self.angle)
        for k, (wave, phase) in enumerate(zip(self.waves, self.phases, strict=True), start=1):
            across = across + wave * np.sin(2 * np.pi * k * along / self.field + phase)
        return np.asarray(across > self.distance)


@dataclass(frozen=True)
class Opening:
    """The part of a field [Å] without film: a hole, what lies beyond an edge, or both.

    Attributes:
        field: side of the field [Å].
        hole: centre [2] and radius [Å].
        edge: the line beyond which there is no film.
    """

    field: float
    hole: tuple[np.ndarray, float] | None = None
    edge: Line | None = None

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return whether points [N, 2] lie in the opening, bool, shape [N]."""
        result = np.zeros(len(points), dtype=bool)
        if self.hole is not None:
            away = points - self.hole[0]
            away -= self.field * np.round(away / self.field)
            result |= np.hypot(away[:, 0], away[:, 1]) < self.hole[1]
        if self.edge is not None:
            result |= self.edge.beyond(points)
        return result
