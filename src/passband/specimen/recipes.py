"""Recipes: what a family of random specimens is made of. A recipe, a seed and an index name one specimen."""

from typing import Annotated, Any

from ase.data import atomic_numbers
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _element(symbol: str) -> str:
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"{symbol!r} is not a chemical element; give a symbol such as Au")
    return symbol


def _ascending(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    if pair[0] > pair[1]:
        raise ValueError(f"range {list(pair)} runs downwards; write [smallest, largest]")
    return pair


Element = Annotated[str, AfterValidator(_element)]
Length = Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False, strict=True)]
LengthRange = Annotated[tuple[Length, Length], AfterValidator(_ascending)]
CountRange = Annotated[
    tuple[Annotated[int, Field(ge=1, strict=True)], Annotated[int, Field(ge=1, strict=True)]],
    AfterValidator(_ascending),
]


class ParticleRecipe(BaseModel):
    """Face-centred cubic particles, cut by {111}, {100} and {110} facets and rounded by a sphere.

    Attributes:
        element: chemical symbol.
        lattice_constant_angstrom: side of the cubic cell [Å].
        count: fewest and most particles in a field.
        diameter_angstrom: smallest and largest circumscribed sphere [Å].
        facet_variation: standard deviation of each facet's distance from the centre, relative.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    element: Element = "Au"
    lattice_constant_angstrom: float = Field(default=4.078, ge=2, le=20, strict=True)
    count: CountRange = (1, 2)
    diameter_angstrom: LengthRange = (14.0, 28.0)
    facet_variation: float = Field(default=0.08, ge=0, le=0.3, strict=True)


class SubstrateRecipe(BaseModel):
    """An amorphous film: random atoms at a given density, no two closer than a minimum distance.

    Attributes:
        element: chemical symbol.
        thickness_angstrom: thinnest and thickest film [Å].
        density_g_per_cm3: mass density [g/cm³].
        minimum_distance_angstrom: between any two atoms [Å].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    element: Element = "C"
    thickness_angstrom: LengthRange = (20.0, 30.0)
    density_g_per_cm3: float = Field(default=2.0, gt=0, le=25, strict=True)
    minimum_distance_angstrom: float = Field(default=1.4, gt=0, le=5, strict=True)


class SpecimenRecipe(BaseModel):
    """A family of specimens.

    Attributes:
        seed: the family's seed; specimen i of a recipe is always the same atoms.
        field_angstrom: side of the square field, periodic [Å].
        particles: what is segmented.
        substrate: what carries it.
        thermal_displacement_angstrom: standard deviation per axis of each element's thermal displacement [Å].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=1, ge=0, strict=True)
    field_angstrom: Length = 51.2
    particles: ParticleRecipe = ParticleRecipe()
    substrate: SubstrateRecipe = SubstrateRecipe()
    thermal_displacement_angstrom: dict[Element, Annotated[float, Field(ge=0, le=1, strict=True)]] = {
        "Au": 0.085,
        "C": 0.1,
    }

    @model_validator(mode="after")
    def _fits(self) -> "SpecimenRecipe":
        largest = self.particles.diameter_angstrom[1]
        if largest + 4 > self.field_angstrom:
            raise ValueError(
                f"a particle of diameter {largest:g} Å does not fit the field of {self.field_angstrom:g} Å with 2 Å around it; "
                f"use diameters up to {self.field_angstrom - 4:g} Å or a field of at least {largest + 4:g} Å"
            )
        smallest = self.particles.diameter_angstrom[0]
        if smallest < 2 * self.particles.lattice_constant_angstrom:
            raise ValueError(
                f"a particle of diameter {smallest:g} Å is less than two unit cells of {self.particles.lattice_constant_angstrom:g} Å; "
                f"use diameters of at least {2 * self.particles.lattice_constant_angstrom:g} Å"
            )
        for element in (self.particles.element, self.substrate.element):
            if element not in self.thermal_displacement_angstrom:
                raise ValueError(
                    f"thermal_displacement_angstrom has no entry for {element}; add one, such as {element}: 0.09"
                )
        return self
