"""Families of specimens: drawn from a recipe, or given: atoms from other programs, stored in a recipe."""

import base64
import zlib
from typing import Annotated, Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols, reference_states
from pydantic import Discriminator, Field, Tag, model_validator

from passband.base.errors import BadInputError
from passband.base.frozen_model import FrozenModel
from passband.specimens.crystals import Element, thermal_displacements
from passband.specimens.label_recipe import Labelled
from passband.specimens.particles import Particle
from passband.specimens.recipes import SpecimenRecipe
from passband.specimens.scene import Specimen, draw_scene

# Positions are stored in this unit [Å].
_UNIT = 1e-4
_HEADER = 4


class GivenScene(FrozenModel):
    """One scene, its cell's height along the beam [Å] and the atoms as `pack` compresses them."""

    name: str = Field(min_length=1, max_length=200)
    height_angstrom: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)]
    atoms: str = Field(min_length=1, max_length=200_000_000)

    def unpack(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return atomic numbers [N], owners [N] and positions [N, 3] [Å]; ValueError if the text is damaged."""
        try:
            data = zlib.decompress(base64.b64decode(self.atoms, validate=True))
            n = int.from_bytes(data[:_HEADER], "little")
            if len(data) != _HEADER + n * (1 + 2 + 12):
                raise ValueError("its length does not match its number of atoms")
        except (ValueError, zlib.error) as error:
            raise ValueError(f"scene {self.name!r}: is damaged ({error}); import it again") from None
        numbers = np.frombuffer(data, np.uint8, n, _HEADER)
        owners = np.frombuffer(data, "<u2", n, _HEADER + n)
        positions = np.frombuffer(data, "<i4", 3 * n, _HEADER + 3 * n).reshape(n, 3)
        return numbers.astype(int), owners.astype(int), positions * _UNIT


def pack(name: str, height: float, numbers: np.ndarray, owners: np.ndarray, positions: np.ndarray) -> GivenScene:
    """Return a scene of atomic numbers [N], owners [N] (0 film, from 1 particles), positions [N, 3] and height [Å].

    It is zlib of the number of atoms, atomic numbers, owners and positions, in base 64.
    """
    data = (
        len(numbers).to_bytes(_HEADER, "little")
        + numbers.astype(np.uint8).tobytes()
        + owners.astype("<u2").tobytes()
        + np.round(positions / _UNIT).astype("<i4").tobytes()
    )
    text = base64.b64encode(zlib.compress(data, 9)).decode("ascii")
    return GivenScene(name=name, height_angstrom=round(height, 4), atoms=text)


class GivenRecipe(Labelled):
    """A family of given scenes; specimen i is the i-th, and its label decides what counts as particle.

    Attributes:
        seed: of the thermal displacements and shot noise; the atoms are as given.
        field_angstrom: side of the square field, periodic [Å].
        scenes: the atoms, as `passband specimen import` writes them.
        thermal_displacement_angstrom: as in other recipes.
    """

    seed: int = Field(default=1, ge=0, strict=True)
    field_angstrom: Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False, strict=True)]
    scenes: list[GivenScene] = Field(min_length=1, max_length=100_000)
    thermal_displacement_angstrom: dict[Element, Annotated[float, Field(ge=0, le=1, strict=True)]] = Field(default={})

    @model_validator(mode="after")
    def _whole(self) -> "GivenRecipe":
        self.displacements()
        return self

    def summary(self) -> str:
        """Return the scenes in a phrase, for a report."""
        return f"{len(self.scenes)} given scenes in fields of {self.field_angstrom:g} Å"

    __str__ = summary

    def crystals(self) -> set[str]:
        """Return what the particles are of: their elements, as crystals are not known."""
        found = set()
        for scene in self.scenes:
            numbers, owners, _ = scene.unpack()
            found |= {_formula(numbers[owners == i]) for i in range(1, owners.max(initial=0) + 1)}
        return found

    def displacements(self) -> dict[str, float]:
        """Return the thermal displacement of every element that occurs [Å]; ValueError if there is none for one."""
        numbers = set().union(*(set(scene.unpack()[0].tolist()) for scene in self.scenes))
        return thermal_displacements({chemical_symbols[z] for z in numbers}, self.thermal_displacement_angstrom)


def _given_specimen(recipe: GivenRecipe, index: int) -> Specimen:
    """Return a given scene as a specimen whose particles' lattices are not known; BadInputError if there are fewer scenes."""
    if index >= len(recipe.scenes):
        raise BadInputError(
            f"the recipe has {len(recipe.scenes)} scenes, and there is no number {index} (from 0); import more, or use fewer"
        )
    scene = recipe.scenes[index]
    numbers, owners, positions = scene.unpack()
    field = recipe.field_angstrom
    atoms = Atoms(numbers=numbers, positions=positions, cell=[field, field, scene.height_angstrom], pbc=True)
    particles = tuple(_described(numbers[owners == i], positions[owners == i]) for i in range(1, owners.max() + 1))
    film = positions[owners == 0, 2]
    faces = (float(film.min()), float(film.max())) if len(film) else None
    volume = field**2 * (faces[1] - faces[0]) / len(film) if faces else 0.0
    return Specimen(atoms, owners, np.zeros(len(numbers), dtype=int), particles, faces, volume)


def _described(numbers: np.ndarray, positions: np.ndarray) -> Particle:
    centre = (positions.min(axis=0) + positions.max(axis=0)) / 2
    diameter = 2 * float(np.linalg.norm(positions - centre, axis=1).max())
    return Particle(_formula(numbers), "given", centre, diameter, np.empty((0, 3, 3)), _volume(numbers), 0, 0)


def _formula(numbers: np.ndarray) -> str:
    return "-".join(chemical_symbols[z] for z in np.unique(numbers))


def _volume(numbers: np.ndarray) -> float:
    """Return the mean volume per atom as in the elements' crystals, 15 Å³ where these are not cubic [Å³]."""
    kinds, counts = np.unique(numbers, return_counts=True)
    states = [reference_states[z] or {} for z in kinds]
    in_cell = [{"fcc": 4, "bcc": 2, "diamond": 8}.get(str(state.get("symmetry"))) for state in states]
    volumes = [float(s["a"]) ** 3 / atoms if atoms else 15.0 for s, atoms in zip(states, in_cell, strict=True)]
    return float(np.average(volumes, weights=counts))


def _kind(content: Any) -> str:
    given = "scenes" in content if isinstance(content, dict) else isinstance(content, GivenRecipe)
    return "given" if given else "drawn"


#: A recipe of random scenes, or given ones.
Recipe = Annotated[Annotated[SpecimenRecipe, Tag("drawn")] | Annotated[GivenRecipe, Tag("given")], Discriminator(_kind)]


def recipe_model(content: Any) -> type[SpecimenRecipe] | type[GivenRecipe]:
    """Return the model that a recipe's content is for."""
    return GivenRecipe if _kind(content) == "given" else SpecimenRecipe


def draw_specimen(recipe: SpecimenRecipe | GivenRecipe, index: int) -> Specimen:
    """Return specimen number `index`, from 0, of a family; the same recipe and index always give the same atoms.

    Raises:
        BadInputError: if the particles do not fit the field, or fewer scenes are given.
    """
    return _given_specimen(recipe, index) if isinstance(recipe, GivenRecipe) else draw_scene(recipe, index)
