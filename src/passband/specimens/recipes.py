"""Recipes: what a family of random specimens is made of. A recipe, a seed and an index name one specimen."""

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    field_validator,
    model_serializer,
    model_validator,
)

from passband.base.distribution import Distribution
from passband.base.frozen_model import FrozenModel
from passband.files.yaml_config import dump
from passband.specimens.crystals import (
    CellRecipe,
    Crystal,
    Element,
    crystal_names,
    library_crystal,
    nearest,
    thermal_displacements,
)
from passband.specimens.defects import check_planar
from passband.specimens.label_recipe import Labelled
from passband.specimens.shapes import ShapeRecipe, Twinned, Wulff
from passband.specimens.substrates import CountRange, SubstrateRecipe, number_density

# Least width of a particle's projection over its diameter; facetted ones have 0.6. Discs dropped at random jam when they cover
# 0.547 of the area (Feder 1980), so that more than this never fits.
_LEAST_WIDTH = {"sphere": 0.95, "rod": 0.02, "random": 0.3}
_FULLEST = 0.75
# More atoms than this do not fit the memory of a usual computer along with their exit wave.
_MOST_ATOMS = 20_000_000


def _as_shape(given: Any) -> Any:
    return {"kind": given} if isinstance(given, str) else given


def _known_crystal(crystal: str) -> str:
    if crystal not in crystal_names():
        raise ValueError(
            f"no crystal {crystal!r} in the library ({', '.join(crystal_names())}); give one of these, {{cif: FILE}}, or a cell with its sites"
        )
    return crystal


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


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


class ShellRecipe(FrozenModel):
    """A shell of the same lattice in which elements are replaced, such as CdS around CdSe."""

    thickness_angstrom: Distribution
    replace: dict[Element, Element] = Field(min_length=1)


class ParticleRecipe(FrozenModel):
    """A population of particles.

    Attributes:
        crystal: a name of the library, or a cell with its sites; in a file also {cif: FILE}.
        count: fewest and most in a field.
        shape: kind, and what belongs to it; a kind alone will do.
        diameter_angstrom: of the circumscribed sphere; a rod's is its length [Å].
        lattice_scale: factor on the lattice constants.
        orientation: uniform, or near zone axes.
        twins: fewest and most parallel twin planes in a particle.
        stacking_faults: fewest and most.
        vacancies: share of the atoms that is missing.
        roughness: share of the surface's atoms that is missing, the loosest first.
        strain: standard deviation of each component of a homogeneous strain.
        alloy: by element, the share of it that each other element replaces at random.
        shell: elements replaced near the surface.
        position: on the support, in it, or under it (the beam meets the lower side first).
        carrier: crystal of the population on whose particles these rest, as far as there are any; the support if left out.
    """

    crystal: Annotated[
        Annotated[str, AfterValidator(_known_crystal), Tag("name")] | Annotated[CellRecipe, Tag("cell")],
        Discriminator(lambda given: "cell" if isinstance(given, (dict, CellRecipe)) else "name"),
    ] = "Au"
    count: CountRange = (1, 1)
    shape: Annotated[ShapeRecipe, BeforeValidator(_as_shape)] = Wulff()
    diameter_angstrom: Distribution = Distribution(uniform=[14.0, 28.0])
    lattice_scale: Annotated[float, Field(ge=0.8, le=1.25, allow_inf_nan=False)] = 1.0
    orientation: OrientationRecipe = OrientationRecipe()
    twins: CountRange = (0, 0)
    stacking_faults: CountRange = (0, 0)
    vacancies: Annotated[float, Field(ge=0, le=0.5, allow_inf_nan=False)] = 0.0
    roughness: Share = 0.0
    strain: Annotated[float, Field(ge=0, le=0.1, allow_inf_nan=False)] = 0.0
    alloy: dict[Element, dict[Element, Share]] = Field(default={})
    shell: ShellRecipe | None = None
    position: Literal["on", "in", "under"] = "on"
    carrier: Annotated[str, Field(max_length=64)] | None = None

    @model_serializer(mode="wrap")
    def _without_no_carrier(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit the carrier where there is none, which keeps the ids of recipes that were written before it."""
        content: dict[str, Any] = write(self)
        return {name: value for name, value in content.items() if name != "carrier" or value is not None}

    @model_validator(mode="after")
    def _possible(self) -> "ParticleRecipe":
        crystal = self.crystal_used()
        check_planar(crystal, self.twins[1], self.stacking_faults[1])
        if isinstance(self.shape, Twinned):
            if crystal.prototype != "fcc":
                raise ValueError(
                    f"shape {self.shape.kind}: is made of twinned fcc grains, and {crystal.name} is not fcc; use an fcc metal or another shape"
                )
            if self.twins[1] or self.stacking_faults[1]:
                raise ValueError(
                    f"shape {self.shape.kind}: is twinned already; leave twins and stacking_faults away, or use another shape"
                )
        if isinstance(self.shape, Wulff) and not (self.shape.surface_energies or crystal.surface_energies):
            raise ValueError(
                f"shape wulff: {crystal.name} has no surface energies in the library; add shape.surface_energies, such as {{kind: wulff, surface_energies: {{'111': 1.0, '100': 1.1}}}}, or use another shape"
            )
        least = 2 * abs(float(crystal.volume_per_atom * len(crystal.numbers))) ** (1 / 3)
        low, high = self.diameter_angstrom.bounds()
        if low < least:
            raise ValueError(
                f"diameter_angstrom: a particle of {low:.4g} Å is less than two unit cells of {crystal.name}; use diameters of at least {least:.4g} Å"
            )
        if high > 2000:
            raise ValueError(f"diameter_angstrom: reaches {high:.4g} Å; use diameters up to 2000 Å")
        shelled = self.shell.replace if self.shell else {}
        for source in (*self.alloy, *shelled):
            if source not in crystal.symbols:
                key = "alloy" if source in self.alloy else "shell.replace"
                raise ValueError(f"{key}: {crystal.name} has no {source}; replace one of {', '.join(crystal.symbols)}")
        for source, targets in self.alloy.items():
            if sum(targets.values()) > 1 + 1e-9:
                raise ValueError(f"alloy: the shares that replace {source} add up to more than 1; lower them")
        return self

    def crystal_used(self) -> Crystal:
        """Return the crystal, before any scaling."""
        return library_crystal(self.crystal) if isinstance(self.crystal, str) else self.crystal.crystal()

    def elements(self) -> set[str]:
        """Return the symbols of all elements that may occur."""
        alloyed = {target for targets in self.alloy.values() for target in targets}
        return {*self.crystal_used().symbols, *alloyed, *(self.shell.replace.values() if self.shell else ())}


class SpecimenRecipe(Labelled):
    """A family of specimens; its label decides what counts as particle.

    Attributes:
        seed: the family's seed; specimen i of a recipe is always the same atoms.
        field_angstrom: side of the square field, periodic [Å].
        particles: populations of what is segmented.
        populations_per_field: fewest and most populations that share a field, chosen at random for each; all if left out.
        substrate: what carries it; null for particles in vacuum.
        overlap: apart keeps particles from overlapping in projection; projected lets them, one above the other.
        gap_angstrom: clear distance of the particles in projection, and half of that to the field's edge [Å].
        boundary: inside keeps particles within the field; across lets them lie anywhere, and go on at the opposite side.
        thermal_displacement_angstrom: standard deviation per axis of an element's thermal displacement [Å], where the
            table's value at room temperature is not wanted.
    """

    seed: int = Field(default=1, ge=0, strict=True)
    field_angstrom: Annotated[float, Field(gt=0, le=2000, allow_inf_nan=False, strict=True)] = 51.2
    particles: list[ParticleRecipe] = Field(default=[ParticleRecipe(count=(1, 2))], min_length=1, max_length=50)
    populations_per_field: CountRange | None = None
    substrate: SubstrateRecipe | None = SubstrateRecipe()
    overlap: Literal["apart", "projected"] = "apart"
    gap_angstrom: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] = 4.0
    boundary: Literal["inside", "across"] = "inside"
    thermal_displacement_angstrom: dict[Element, Annotated[float, Field(ge=0, le=1, strict=True)]] = Field(default={})

    @model_serializer(mode="wrap")
    def _without_the_usual(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit the usual boundary and choice of populations, which keeps the ids of recipes that were written before there was another."""
        content: dict[str, Any] = write(self)
        usual = {"label": "outline", "boundary": "inside", "populations_per_field": None}
        return {name: value for name, value in content.items() if value != usual.get(name, ...)}

    def __str__(self) -> str:
        """Return the recipe as its YAML file."""
        return dump(self).rstrip()

    @field_validator("particles", mode="before")
    @classmethod
    def _one_population(cls, given: Any) -> Any:
        return [given] if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fits(self) -> "SpecimenRecipe":
        if self.particles and not any(p.count[1] for p in self.particles):
            raise ValueError("particles: every count is [0, 0]; let at least one population have a particle")
        if self.populations_per_field is not None:
            self._check_choice(*self.populations_per_field)
        if self.substrate is not None and self.substrate.hole is not None:
            widest = self.substrate.hole.radius_angstrom.bounds()[1]
            if 2 * widest > 0.9 * self.field_angstrom:
                raise ValueError(
                    f"hole: a radius of {widest:.4g} Å leaves little of a field of {self.field_angstrom:g} Å; use radii up to {0.45 * self.field_angstrom:.4g} Å or a larger field"
                )
        atoms = area = 0.0
        if film := self.substrate:
            atoms = number_density(film) * self.field_angstrom**2 * film.thickest()
        for population in self.particles:
            low, high = population.diameter_angstrom.bounds()
            if high + self.gap_angstrom > self.field_angstrom and population.count[1]:
                raise ValueError(
                    f"a particle of diameter {high:.4g} Å does not fit the field of {self.field_angstrom:g} Å with {self.gap_angstrom / 2:g} Å around it; "
                    f"use diameters up to {self.field_angstrom - self.gap_angstrom:g} Å or a field of at least {high + self.gap_angstrom:.4g} Å"
                )
            atoms += population.count[1] * math.pi / 6 * high**3 / population.crystal_used().volume_per_atom
            least = _LEAST_WIDTH.get(population.shape.kind, 0.6) * low + self.gap_angstrom
            area += population.count[0] * math.pi / 4 * least**2
            if population.position != "on" and self.substrate is None:
                raise ValueError(f"position {population.position}: needs a substrate; add one, or use position on")
        if self.overlap == "apart" and area > _FULLEST * self.field_angstrom**2:
            raise ValueError(
                f"count: {sum(p.count[0] for p in self.particles)} particles have no room in a field of {self.field_angstrom:g} Å; lower count or diameter_angstrom, or enlarge field_angstrom"
            )
        if atoms > _MOST_ATOMS:
            raise ValueError(
                f"the recipe makes up to {atoms:.2g} atoms in a field, more than {_MOST_ATOMS:.0e}; lower field_angstrom, thickness_angstrom, diameter_angstrom or count"
            )
        self.displacements()
        return self

    def _check_choice(self, low: int, high: int) -> None:
        """Raise ValueError for numbers of populations in a field that cannot be chosen."""
        if not 1 <= low <= high <= len(self.particles):
            raise ValueError(
                f"populations_per_field: [{low}, {high}] is not possible with {len(self.particles)} populations; use numbers from 1 to {len(self.particles)}"
            )
        if carried := [p.crystal_used().name for p in self.particles if p.carrier is not None]:
            raise ValueError(
                f"populations_per_field: would leave {carried[0]} without its carrier; leave carrier or populations_per_field out"
            )

    @model_validator(mode="after")
    def _carried(self) -> "SpecimenRecipe":
        for i, population in enumerate(self.particles):
            if population.carrier is None:
                continue
            others = sorted({p.crystal_used().name for p in self.particles if p is not population})
            if population.carrier not in others:
                remedy = nearest(population.carrier, others) if others else "add that population, or leave carrier out"
                raise ValueError(f"carrier {population.carrier!r}: no other population is of this crystal; {remedy}")
            if population.position != "on" or self.overlap != "projected":
                raise ValueError(
                    f"carrier {population.carrier!r}: particles on others overlap them in projection; use position: on and overlap: projected"
                )
            self.settles(i)
        return self

    def settles(self, which: int, above: tuple[int, ...] = ()) -> int:
        """Return on how many others, one upon another, a population rests, 0 on the support; ValueError for a circle of them."""
        if which in above:
            raise ValueError(
                f"carrier {self.particles[which].carrier!r}: populations carry each other in a circle; leave one carrier out"
            )
        return max((1 + self.settles(i, (*above, which)) for i in self.carriers(which)), default=0)

    def carriers(self, which: int) -> list[int]:
        """Return the populations whose particles carry those of a population."""
        name = self.particles[which].carrier
        return [i for i, p in enumerate(self.particles) if i != which and p.crystal_used().name == name]

    def crystals(self) -> set[str]:
        """Return the names of the particles' crystals."""
        return {population.crystal_used().name for population in self.particles if population.count[1]}

    def displacements(self) -> dict[str, float]:
        """Return the thermal displacement of every element that may occur [Å]; ValueError if there is none for one."""
        film = set() if self.substrate is None else self.substrate.elements()
        elements = film.union(*(population.elements() for population in self.particles))
        return thermal_displacements(elements, self.thermal_displacement_angstrom)

    def summary(self) -> str:
        """Return the scenes in a phrase, for a report."""
        populations = [
            f"{p.count[0]} to {p.count[1]} {p.crystal_used().name} particles ({p.shape.kind.replace('_', ' ')})"
            for p in self.particles
        ]
        carrier = "in vacuum"
        if film := self.substrate:
            carrier = f"on amorphous {film.material.replace('_', ' ')} of {film.density_g_per_cm3:g} g/cm³"
        return f"{' and '.join(populations)} {carrier}, in fields of {self.field_angstrom:g} Å"
