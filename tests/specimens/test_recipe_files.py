import time

import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.specimens import draw_specimen
from passband.specimens.crystals import library_crystal
from passband.specimens.recipe_files import load_recipe, read_cif
from passband.studies.study import load_study

RUTILE = """data_rutile
_cell_length_a {a}
_cell_length_b 4.5937
_cell_length_c 2.9587
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 42/m n m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Ti1 {symbol} 0 0 0 {occupancy}
O1 O {x} 0.30478 0 1
{more}
"""


def cif(tmp_path, name="rutile.cif", **changes):
    values = {"a": "4.5937", "symbol": "Ti", "occupancy": "1", "x": "0.30478", "more": ""} | changes
    path = tmp_path / name
    path.write_text(RUTILE.format(**values))
    return path


def test_a_cif_is_the_crystal_of_the_library(tmp_path):
    crystal, known = read_cif(cif(tmp_path)).crystal(), library_crystal("TiO2-rutile")
    assert np.allclose(crystal.cell, known.cell, atol=1e-6)
    ours, theirs = (np.sort(np.round((c.fractions % 1) @ [1, 10, 100] + c.numbers, 4)) for c in (crystal, known))
    assert np.allclose(ours, theirs)


def test_a_primitive_cif_comes_out_conventional(tmp_path):
    path = tmp_path / "gold.cif"
    edge = 4.0782 / np.sqrt(2)
    path.write_text(
        f"data_x\n_cell_length_a {edge}\n_cell_length_b {edge}\n_cell_length_c {edge}\n_cell_angle_alpha 60\n_cell_angle_beta 60\n"
        "_cell_angle_gamma 60\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nAu1 0 0 0\n"
    )
    crystal = read_cif(path).crystal()
    assert np.allclose(crystal.cell, np.eye(3) * 4.0782, atol=1e-4) and len(crystal.numbers) == 4


def test_a_recipe_with_a_cif_carries_its_content(tmp_path):
    cif(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "particles:\n  - crystal: {cif: rutile.cif}\n    shape: {kind: wulff, surface_energies: {'110': 1.0, '101': 1.2}}\n    diameter_angstrom: 20\n"
    )
    loaded = load_recipe(recipe)
    assert loaded.particles[0].crystal.name == "rutile"
    assert draw_specimen(loaded, 0).particles[0].crystal == "rutile"
    # In a study, with the CIF beside it; its id follows the CIF's content, not its name.
    study = tmp_path / "study.yaml"
    text = "specimens: {{particles: {{crystal: {{cif: {}}}, shape: sphere, diameter_angstrom: 20}}}}\nconditions: {{base: {{energy_ev: 3e5}}, vary: {{defocus_angstrom: [0, 50]}}}}\n"
    study.write_text(text.format("rutile.cif"))
    first = load_study(study).id
    cif(tmp_path, a="4.60")
    assert load_study(study).id != first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": "?"}, "has no cell"),
        ({"a": "-4"}, "impossible|has no cell"),
        ({"occupancy": "0.5"}, "site 'Ti1' has occupancy 0.5"),
        ({"symbol": "Qq"}, "unknown species 'Qq'"),
        ({"x": "nan"}, "site 'O1' has no number"),
        ({"x": "?"}, "site 'O1' has no number"),
        ({"more": "Ti2 Ti 0.1 0 0 1"}, "0.46 Å apart, closer than 0.7"),
        ({"more": "Ti2 Ti 0.1"}, "is not a CIF"),
        ({"a": "__import__('os').system('touch hacked')"}, "has no cell|impossible|not a CIF"),
    ],
)
def test_bad_cifs_are_one_line_at_once(tmp_path, changes, message):
    path = cif(tmp_path, **changes)
    began = time.perf_counter()
    with pytest.raises(BadInputError, match=message) as fault:
        read_cif(path)
    assert time.perf_counter() - began < 20
    assert str(fault.value).startswith(str(path)) and "\n" not in str(fault.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["rutile.cif"]


def test_what_is_no_cif(tmp_path):
    path = tmp_path / "x.cif"
    path.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(BadInputError, match="not a CIF"):
        read_cif(path)
    path.write_text("data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n")
    with pytest.raises(BadInputError, match="has no atoms"):
        read_cif(path)


@pytest.mark.parametrize(
    ("crystal", "message"),
    [
        ("{cif: nowhere.cif}", r"recipe.yaml:2: crystal.cif: 'nowhere.cif' not found"),
        ("{cif: rutile.cif, name: x}", "goes alone"),
        ("{cif: 3}", "goes alone and names a file"),
        ("gold", r"recipe.yaml:2: .*no crystal 'gold' in the library \(Ag, Au"),
    ],
)
def test_bad_crystals_in_recipes(tmp_path, crystal, message):
    cif(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"particles:\n  crystal: {crystal}\n")
    with pytest.raises(BadInputError, match=message):
        load_recipe(recipe)
