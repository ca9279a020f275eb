import numpy as np
import pytest
from pydantic import ValidationError

from passband.specimens.crystals import (
    THERMAL_DISPLACEMENT,
    CellRecipe,
    Crystal,
    crystal_names,
    library_crystal,
    reflections,
)

# Nearest-neighbour distances [Å] and densities [g/cm³] as tabulated elsewhere (CRC Handbook; powder diffraction file).
KNOWN = {
    "Au": (2.884, 19.3),
    "Ag": (2.889, 10.5),
    "Pt": (2.775, 21.5),
    "Pd": (2.751, 12.0),
    "Cu": (2.556, 8.96),
    "Fe": (2.482, 7.87),
    "W": (2.741, 19.3),
    "Si": (2.352, 2.329),
    "CdSe-wurtzite": (2.63, 5.67),
    "CdSe-zincblende": (2.62, 5.74),
    "CdS-wurtzite": (2.53, 4.826),
    "CdS-zincblende": (2.52, 4.87),
    "PbS": (2.968, 7.60),
    "CeO2": (2.343, 7.215),
    "TiO2-rutile": (1.949, 4.23),
    "TiO2-anatase": (1.934, 3.89),
    "ZnS-wurtzite": (2.341, 4.09),
    "diamond": (1.545, 3.515),
    "Fe3O4": (1.889, 5.18),
    "Co3O4": (1.92, 6.11),
}


def test_all_crystals_have_known_bonds_and_densities():
    assert set(KNOWN) == set(crystal_names())
    for name, (bond, density) in KNOWN.items():
        crystal = library_crystal(name)
        atoms = crystal.atoms() * (3, 3, 3)
        distances = atoms.get_distances(0, range(1, len(atoms)), mic=True)
        every = min(
            (crystal.atoms() * (3, 3, 3)).get_distances(i, [j for j in range(len(atoms)) if j != i], mic=True).min()
            for i in range(len(crystal.numbers))
        )
        assert distances.min() >= every
        assert every == pytest.approx(bond, rel=0.005), name
        grams = atoms.get_masses().sum() * 1.66053907e-24 / (atoms.get_volume() * 1e-24)
        assert grams == pytest.approx(density, rel=0.02), name
        assert set(crystal.symbols) <= set(THERMAL_DISPLACEMENT)


def test_anatase_and_rutile_have_six_oxygens_around_titanium():
    for name in ("TiO2-anatase", "TiO2-rutile"):
        atoms = library_crystal(name).atoms() * (3, 3, 3)
        distances = atoms.get_distances(0, np.flatnonzero(atoms.numbers == 8), mic=True)
        assert (distances < 2.1).sum() == 6
        assert np.sort(distances)[6] > 3.0


@pytest.mark.parametrize(("name", "tetrahedral", "octahedral"), [("Fe3O4", 1.889, 2.058), ("Co3O4", 1.935, 1.92)])
def test_a_third_of_the_metal_of_spinel_has_four_oxygens_and_the_rest_six(name, tetrahedral, octahedral):
    crystal = library_crystal(name)
    atoms = crystal.atoms()
    metals, oxygens = np.flatnonzero(atoms.numbers != 8), np.flatnonzero(atoms.numbers == 8)
    assert (len(metals), len(oxygens)) == (24, 32)
    bonds = [d[d < 2.5] for d in (atoms.get_distances(i, oxygens, mic=True) for i in metals)]
    assert sorted(map(len, bonds)) == [4] * 8 + [6] * 16
    for count, known in ((4, tetrahedral), (6, octahedral)):
        assert np.concatenate([b for b in bonds if len(b) == count]) == pytest.approx(known, rel=0.005)


def test_a_cell_in_full_equals_the_library():
    gold = CellRecipe(
        name="gold",
        cell_angstrom=(4.0782, 4.0782, 4.0782, 90, 90, 90),
        sites=[("Au", 0, 0, 0), ("Au", 0, 0.5, 0.5), ("Au", 0.5, 0, 0.5), ("Au", 0.5, 0.5, 0)],
    ).crystal()
    assert gold.volume_per_atom == pytest.approx(library_crystal("Au").volume_per_atom)


@pytest.mark.parametrize(
    ("cell", "sites", "message"),
    [
        ((4, 4, 4, 90, 90, 90), [("Au", 0, 0, 0), ("Au", 0.999, 0, 0)], "0.00 Å apart, closer than 0.7"),
        ((4, 4, 4, 90, 90, 90), [("Au", 0, 0, 0), ("Au", 0.85, 0, 0)], "Au 1 and Au 2 lie 0.60 Å apart"),
        ((4, 4, 4, 30, 30, 150), [("Au", 0, 0, 0)], "no cell has the angles"),
        ((4, 4, 4, 90, 90, 90), [("Xx", 0, 0, 0)], "not a chemical element"),
        ((4, 4, 4, 90, 90, 90), [("Au", float("nan"), 0, 0)], "finite number"),
        ((4, 4, 0.4, 90, 90, 90), [("Au", 0, 0, 0)], "greater than or equal to 1"),
    ],
)
def test_impossible_cells(cell, sites, message):
    with pytest.raises(ValidationError, match=message):
        CellRecipe(name="x", cell_angstrom=cell, sites=sites)


def test_an_atom_close_to_its_own_image_is_found():
    with pytest.raises(ValueError, match="closer than"):
        Crystal("x", np.diag([0.5, 5.0, 5.0]), np.zeros((1, 3)), np.array([6])).check_apart()


def test_reflections_are_those_of_the_structure():
    a = 4.0782
    expected = {"{111}": 3, "{200}": 4, "{220}": 8, "{311}": 11, "{222}": 12}
    found = dict(reflections(library_crystal("Au"), 0.9))
    assert found == pytest.approx({name: np.sqrt(n) / a for name, n in expected.items()}, abs=1e-4)
    # Odd sums are extinct in bcc, and {200} is in diamond; (002) of wurtzite is not (001).
    assert [name for name, _ in reflections(library_crystal("W"))[:3]] == ["{110}", "{200}", "{211}"]
    assert [name for name, _ in reflections(library_crystal("Si"))[:3]] == ["{111}", "{220}", "{311}"]
    assert [name for name, _ in reflections(library_crystal("CdSe-wurtzite"))[:3]] == ["{100}", "{002}", "{101}"]
