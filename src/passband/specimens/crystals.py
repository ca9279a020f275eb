"""Crystals: a library of common nanoparticle materials, and cells given in full."""

import difflib
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated

import gemmi
import numpy as np
from ase import Atoms
from ase.data import atomic_names, atomic_numbers, chemical_symbols, covalent_radii
from ase.geometry import cellpar_to_cell
from pydantic import AfterValidator, Field, model_validator
from scipy.spatial import cKDTree

from passband.base.errors import BadInputError, parameter
from passband.base.frozen_model import FrozenModel

#: No two atoms of a crystal or of a scene lie closer than this [Å]; the shortest bond, H–H, has 0.74 Å.
CLOSEST = 0.7
# The closest two atoms of a crystal lie this many times the sum of their covalent radii apart: from uranyl's 0.67 and uranium's
# 0.70 to lead's 1.20. Without the atoms of a centring they would lie up to 1.7 apart.
_NEAR, _FAR = 0.6, 1.3
_NOBLE_GASES = {2, 10, 18, 36, 54, 86}
# ASE's X is no element.
_SYMBOLS = atomic_numbers.keys() - {"X"}


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of some known names were meant, or all of them if none is close, as the remedy of a message."""
    by_lower = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(by_lower[c] for c in close)}?"
    return f"give one of {', '.join(by_lower.values())}"


def check_element(symbol: str, name: str = "elements") -> None:
    """Raise BadInputError for what is no chemical symbol, such as Xx, gold or AU, in a parameter of that name."""
    if symbol in _SYMBOLS:
        return
    by_name = {n.lower(): s for n, s in zip(atomic_names, chemical_symbols, strict=False)}
    meant = by_name.get(symbol.lower())
    remedy = f"did you mean {meant}?" if meant else nearest(symbol, chemical_symbols[1:104])
    raise BadInputError(f"{parameter(name)} {symbol!r} is not a chemical element", value=symbol, remedy=remedy)


def _element(symbol: str) -> str:
    if symbol not in _SYMBOLS:
        raise ValueError(f"{symbol!r} is not a chemical element; give a symbol such as Au")
    return symbol


Element = Annotated[str, AfterValidator(_element)]
_Coordinate = Annotated[float, Field(ge=-1000, le=1000, allow_inf_nan=False)]
_Site = tuple[Element, _Coordinate, _Coordinate, _Coordinate]
_Edge = Annotated[float, Field(ge=1, le=200, allow_inf_nan=False)]
_Angle = Annotated[float, Field(ge=20, le=160, allow_inf_nan=False)]


@dataclass(frozen=True)
class Crystal:
    """An infinite crystal.

    Attributes:
        name: of the material and structure.
        cell: conventional cell, a vector a row, a along x and b in the xy plane, shape [3, 3] [Å].
        fractions: fractional positions of the atoms of a cell, shape [M, 3].
        numbers: atomic numbers, shape [M].
        prototype: fcc, bcc, diamond, zincblende, wurtzite or other; decides which defects are known.
        surface_energies: relative, by Miller indices of the conventional cell; scale the facets' distances.
    """

    name: str
    cell: np.ndarray
    fractions: np.ndarray
    numbers: np.ndarray
    prototype: str = "other"
    surface_energies: dict[str, float] = field(default_factory=dict)

    def atoms(self) -> Atoms:
        """Return one cell."""
        return Atoms(numbers=self.numbers, cell=self.cell, scaled_positions=self.fractions, pbc=True)

    @property
    def volume_per_atom(self) -> float:
        """Volume of the cell over its atoms [Å³]."""
        return float(abs(np.linalg.det(self.cell))) / len(self.numbers)

    @property
    def nearest_neighbour(self) -> float:
        """Shortest distance between two atoms [Å]."""
        return self.closest_pair()[0]

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols that occur, in the order of their atomic numbers."""
        return [chemical_symbols[z] for z in np.unique(self.numbers)]

    def closest_pair(self) -> tuple[float, int, int]:
        """Return the shortest distance between two atoms, or an atom and its image [Å], and which these are."""
        inside = self.fractions - np.floor(self.fractions)
        shifts = np.array(sorted(itertools.product((-1, 0, 1), repeat=3), key=lambda s: sum(map(abs, s))))
        images = (inside + shifts[:, None]) @ self.cell
        distance, other = cKDTree(images.reshape(-1, 3)).query(inside @ self.cell, k=2)
        i = int(distance[:, 1].argmin())
        return float(distance[i, 1]), i, int(other[i, 1]) % len(self.fractions)

    def check_apart(self) -> None:
        """Raise ValueError if the closest atoms lie closer, or farther apart, than in any crystal."""
        distance, i, j = self.closest_pair()
        near, far = closest_limits(self.numbers[[i, j]])
        a, b = (f"{chemical_symbols[self.numbers[k]]} {k + 1}" for k in (i, j))
        if distance < near:
            limit = CLOSEST if distance < CLOSEST else near
            raise ValueError(
                f"{self.name}: {a} and {b} lie {distance:.2f} Å apart, closer than {limit:.2g} Å; "
                "correct the positions, or remove the atom that is there twice"
            )
        if distance > far:
            raise ValueError(
                f"{self.name}: no two atoms lie closer than {a} and {b}, {distance:.2f} Å apart, more than {far:.2g} Å: "
                "atoms are missing; give every atom of the cell and lengths in Å"
            )


def closest_limits(numbers: np.ndarray) -> tuple[float, float]:
    """Return between which distances [Å] the closest two atoms of a solid lie, for their atomic numbers."""
    radii = float(covalent_radii[numbers].sum())
    return max(CLOSEST, _NEAR * radii), math.inf if set(numbers.tolist()) <= _NOBLE_GASES else _FAR * radii


class CellRecipe(FrozenModel):
    """A crystal given in full, as a CIF would.

    Attributes:
        name: names the crystal in labels and tables.
        cell_angstrom: a, b, c [Å], α, β, γ [°] of the conventional cell.
        sites: symbol and fractional x, y, z of every atom of the cell.
    """

    name: str = Field(min_length=1, max_length=64)
    cell_angstrom: tuple[_Edge, _Edge, _Edge, _Angle, _Angle, _Angle]
    sites: list[_Site] = Field(min_length=1, max_length=5000)

    @model_validator(mode="after")
    def _possible(self) -> "CellRecipe":
        a, b, c = (math.cos(math.radians(x)) for x in self.cell_angstrom[3:])
        if 1 - a * a - b * b - c * c + 2 * a * b * c < 1e-3:
            raise ValueError(
                f"cell_angstrom: no cell has the angles {', '.join(f'{x:g}' for x in self.cell_angstrom[3:])}; correct them"
            )
        self.crystal().check_apart()
        return self

    def crystal(self) -> Crystal:
        """Return the crystal."""
        return Crystal(
            self.name,
            np.array(cellpar_to_cell(list(self.cell_angstrom))),
            np.array([site[1:] for site in self.sites], dtype=float),
            np.array([atomic_numbers[site[0]] for site in self.sites]),
        )


# {111} {100} {110}: near the ratios of gold (Barnard et al., ACS Nano 3 (2009) 1431), taken for all fcc metals.
_FCC = {"111": 1.0, "100": 1.1, "110": 1.2}
# Nominal: {110} is the closest-packed plane of bcc.
_BCC = {"110": 1.0, "100": 1.1, "211": 1.12}
_WURTZITE = {"100": 1.0, "001": 1.1, "00-1": 1.1, "101": 1.15, "10-1": 1.15}  # nominal
_ZINCBLENDE = {"110": 1.0, "111": 1.05, "-1-1-1": 1.05, "100": 1.15}  # nominal
_DIAMOND = {"111": 1.0, "100": 1.11, "110": 1.16}
_SPINEL = {"111": 1.0, "100": 1.05, "110": 1.1}  # nominal
_CORNER = [(0.0, 0.0, 0.0)]
_ZINC = [(0.0, 0.0, 0.0), (0.25, 0.25, 0.25)]
_ROCK_SALT = [(0.0, 0.0, 0.0), (0.5, 0.5, 0.5)]
_Entry = tuple[list[str], list[tuple[float, float, float]], str, list[float], str, dict[str, float]]


def _cubic(a: float) -> list[float]:
    return [a, a, a, 90, 90, 90]


def _wurtzite(cation: str, anion: str, a: float, c: float, u: float) -> _Entry:
    sites = [(1 / 3, 2 / 3, 0), (1 / 3, 2 / 3, u)]
    return [cation, anion], sites, "P 63 m c", [a, a, c, 90, 90, 120], "wurtzite", _WURTZITE


def _spinel(metal: str, a: float, u: float) -> _Entry:
    sites = [(1 / 8, 1 / 8, 1 / 8), (1 / 2, 1 / 2, 1 / 2), (u, u, u)]
    return [metal, metal, "O"], sites, "F d -3 m:2", _cubic(a), "other", _SPINEL


# Name: symbols, sites, space group, cell, prototype, relative surface energies. Lattices from R. W. G. Wyckoff, Crystal
# Structures (1963), at room temperature, unless a line says otherwise.
_LIBRARY: dict[str, _Entry] = {
    "Au": (["Au"], _CORNER, "F m -3 m", _cubic(4.0782), "fcc", _FCC),
    "Ag": (["Ag"], _CORNER, "F m -3 m", _cubic(4.0862), "fcc", _FCC),
    "Pt": (["Pt"], _CORNER, "F m -3 m", _cubic(3.9231), "fcc", _FCC),
    "Pd": (["Pd"], _CORNER, "F m -3 m", _cubic(3.8898), "fcc", _FCC),
    "Cu": (["Cu"], _CORNER, "F m -3 m", _cubic(3.6150), "fcc", _FCC),
    "Fe": (["Fe"], _CORNER, "I m -3 m", _cubic(2.8664), "bcc", _BCC),
    "W": (["W"], _CORNER, "I m -3 m", _cubic(3.1647), "bcc", _BCC),
    # Eaglesham et al., PRL 70 (1993) 1643: 1.23, 1.36, 1.43 J/m².
    "Si": (["Si"], _CORNER, "F d -3 m:1", _cubic(5.4307), "diamond", _DIAMOND),
    # Energies nominal: silicon's.
    "diamond": (["C"], _CORNER, "F d -3 m:1", _cubic(3.5668), "diamond", _DIAMOND),
    "CdSe-wurtzite": _wurtzite("Cd", "Se", 4.30, 7.02, 0.376),
    "CdSe-zincblende": (["Cd", "Se"], _ZINC, "F -4 3 m", _cubic(6.05), "zincblende", _ZINCBLENDE),
    "CdS-wurtzite": _wurtzite("Cd", "S", 4.1348, 6.749, 0.377),
    "CdS-zincblende": (["Cd", "S"], _ZINC, "F -4 3 m", _cubic(5.818), "zincblende", _ZINCBLENDE),
    # Kisi and Elcombe, Acta Cryst. C45 (1989) 1867.
    "ZnS-wurtzite": _wurtzite("Zn", "S", 3.8227, 6.2607, 0.3748),
    # {100} is the only stable face of rock salt; the others only bound what roundness there is.
    "PbS": (["Pb", "S"], _ROCK_SALT, "F m -3 m", _cubic(5.936), "other", {"100": 1.0, "110": 1.3, "111": 1.5}),
    # {111} is the stable face of fluorite: nominal.
    "CeO2": (["Ce", "O"], _ZINC, "F m -3 m", _cubic(5.411), "other", {"111": 1.0, "110": 1.25, "100": 1.45}),
    # Howard, Sabine and Dickson, Acta Cryst. B47 (1991) 462; energies Ramamoorthy et al., PRB 49 (1994) 16721.
    "TiO2-rutile": (
        ["Ti", "O"], [(0, 0, 0), (0.30478, 0.30478, 0)], "P 42/m n m", [4.5937, 4.5937, 2.9587, 90, 90, 90], "other",
        {"110": 1.0, "100": 1.26, "101": 1.56, "001": 1.85},
    ),
    # Howard et al. as above; energies Lazzeri, Vittadini and Selloni, PRB 63 (2001) 155409: 0.44, 0.53, 0.90 J/m².
    "TiO2-anatase": (
        ["Ti", "O"], [(0, 0, 0), (0, 0, 0.20806)], "I 41/a m d:1", [3.7845, 3.7845, 9.5143, 90, 90, 90], "other",
        {"101": 1.0, "100": 1.2, "001": 2.05},
    ),
    # Fleet, Acta Cryst. B37 (1981) 917.
    "Fe3O4": _spinel("Fe", 8.394, 0.2549),
    # Smith and Hobson, Acta Cryst. B29 (1973) 362.
    "Co3O4": _spinel("Co", 8.082, 0.2631),
}  # fmt: skip

#: Root-mean-square thermal displacement per axis at room temperature [Å], rounded to 0.005: elements after Peng et al., Acta
#: Cryst. A52 (1996) 456; those that occur only in compounds, and carbon, silicon, oxygen and nitrogen in glasses, nominal.
THERMAL_DISPLACEMENT = {
    "Au": 0.085, "Ag": 0.095, "Pt": 0.07, "Pd": 0.075, "Cu": 0.085, "Fe": 0.065, "W": 0.045, "Si": 0.075, "Cd": 0.12,
    "Se": 0.11, "S": 0.11, "Pb": 0.12, "Ce": 0.065, "O": 0.08, "Ti": 0.075, "C": 0.1, "N": 0.08, "Zn": 0.09, "Co": 0.065,
}  # fmt: skip


def crystal_names() -> list[str]:
    """Return the names of the library."""
    return sorted(_LIBRARY)


@lru_cache(maxsize=64)
def library_crystal(name: str) -> Crystal:
    """Return a crystal of the library, one of `crystal_names()`."""
    symbols, places, group, cell, prototype, energies = _LIBRARY[name]
    structure = gemmi.SmallStructure()
    structure.cell = gemmi.UnitCell(*cell)
    structure.spacegroup = gemmi.SpaceGroup(group)
    for symbol, place in zip(symbols, places, strict=True):
        site = gemmi.SmallStructure.Site()
        site.element, site.fract = gemmi.Element(symbol), gemmi.Fractional(*place)
        structure.add_site(site)
    structure.setup_cell_images()
    sites = structure.get_all_unit_cell_sites()
    return Crystal(
        name,
        np.array(cellpar_to_cell(cell)),
        np.round([[s.fract.x, s.fract.y, s.fract.z] for s in sites], 10) % 1.0,
        np.array([s.element.atomic_number for s in sites]),
        prototype,
        energies,
    )


def thermal_displacements(elements: set[str], given: dict[str, float]) -> dict[str, float]:
    """Return the thermal displacement of each element [Å], the given ones before the table's; ValueError if there is none."""
    known = {**THERMAL_DISPLACEMENT, **given}
    if missing := sorted(elements - known.keys()):
        raise ValueError(
            f"thermal_displacement_angstrom: has no entry for {missing[0]}, nor has the table; add one, such as {missing[0]}: 0.09"
        )
    return {element: known[element] for element in sorted(elements)}


def reflections(crystal: Crystal, highest: float = math.inf) -> list[tuple[str, float]]:
    """Return the reflections of a crystal that its structure allows, such as {111}, and their frequencies up to a highest one [1/Å].

    Of reflections at one frequency, rounded to 0.0001, one is named; indices reach from −4 to 4.
    """
    hkl = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3)
    hkl = hkl[hkl.any(1)]
    frequencies = np.linalg.norm(hkl @ np.linalg.inv(crystal.cell).T, axis=1).round(4)
    strength = np.abs(np.exp(2j * np.pi * hkl @ crystal.fractions.T) @ crystal.numbers)
    allowed = (strength > 0.1 * crystal.numbers.sum()) & (frequencies <= highest)
    # Positive indices first, the last one highest.
    order = sorted(np.flatnonzero(allowed), key=lambda i: (frequencies[i], (hkl[i] < 0).sum(), *(-hkl[i])))
    named: dict[float, str] = {}
    for i in order:
        named.setdefault(float(frequencies[i]), "{" + "".join(map(str, hkl[i])) + "}")
    return [(name, frequency) for frequency, name in named.items()]
