import json
import re
import subprocess
import sys
import time

import ase.io
import numpy as np
import pytest
from ase.build import bulk

from passband.base.errors import BadInputError
from passband.files.yaml_config import dump
from passband.specimens import SpecimenRecipe, draw_specimen
from passband.specimens.exchange import export, export_labels, import_scenes, readable_formats
from passband.specimens.recipe_files import load_recipe

RECIPE = SpecimenRecipe(
    field_angstrom=25.6, particles=[{"diameter_angstrom": 12.0, "crystal": "CdSe-wurtzite"}], substrate={"thickness_angstrom": 6.0}
)  # fmt: skip


@pytest.fixture(scope="module")
def specimen():
    return draw_specimen(RECIPE, 0)


@pytest.mark.parametrize(("form", "name"), [("xyz", "a.xyz"), ("cif", "a.cif"), ("prismatic", "a.prismatic.xyz")])
def test_exports_hold_the_atoms_and_are_the_same_bytes_each_time(tmp_path, specimen, form, name):
    (file,) = export(specimen, RECIPE, 0, tmp_path / name, form)
    first = file.read_bytes()
    export(draw_specimen(RECIPE, 0), RECIPE, 0, file, form)
    assert file.read_bytes() == first
    export(draw_specimen(RECIPE, 1), RECIPE, 1, file, form)
    assert file.read_bytes() != first
    file.write_bytes(first)
    atoms = ase.io.read(file, format={"xyz": "extxyz"}.get(form, form))
    assert np.array_equal(atoms.numbers, specimen.atoms.numbers)
    assert np.abs(atoms.positions - specimen.atoms.positions).max() < 2e-4
    assert np.allclose(np.diag(atoms.cell), np.diag(specimen.atoms.cell), atol=1e-3)


def test_prismatic_gets_the_thermal_displacements(tmp_path, specimen):
    (file,) = export(specimen, RECIPE, 0, tmp_path / "a.xyz", "prismatic")
    last = {line.split()[0]: float(line.split()[5]) for line in file.read_text().splitlines()[2:-1]}
    assert last == pytest.approx({"6": 0.1, "48": 0.12, "34": 0.11}, rel=1e-4)


def test_every_field_of_a_recipe_is_in_the_export(tmp_path, specimen):
    """Thermal displacements do not move the atoms of the file, and still change its bytes."""
    (file,) = export(specimen, RECIPE, 0, tmp_path / "a.xyz", "xyz")
    first = file.read_bytes()
    warm = RECIPE.model_copy(update={"thermal_displacement_angstrom": {"Cd": 0.2}})
    export(specimen, warm, 0, file, "xyz")
    assert file.read_bytes() != first


@pytest.mark.slow
def test_abtems_script_runs(tmp_path, specimen):
    files = export(specimen, RECIPE, 0, tmp_path / "scene.py", "abtem")
    assert [f.name for f in files] == ["scene.py", "scene.xyz"]
    done = subprocess.run([sys.executable, "scene.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    mean = float(done.stdout.split()[-1])
    assert 0.95 < mean <= 1.0001


def test_labels_are_written_without_pickles(tmp_path, specimen):
    file = export_labels(specimen, 64, tmp_path / "labels.npz")
    with np.load(file, allow_pickle=False) as arrays:
        assert arrays["mask"].shape == (64, 64) and arrays["mask"].any()
        assert arrays["names"].tolist() == ["CdSe-wurtzite"]
        assert arrays["pixel_angstrom"] == pytest.approx(0.4)
        assert arrays["lattices_angstrom"].shape == (1, 3, 3)


def test_our_own_export_comes_back(tmp_path, specimen):
    (file,) = export(specimen, RECIPE, 0, tmp_path / "a.xyz", "xyz")
    recipe, facts = import_scenes([file], "extxyz", [], None, 1)
    path = tmp_path / "given.yaml"
    path.write_text(dump(recipe))
    back = draw_specimen(load_recipe(path), 0)
    moved = back.atoms.positions - specimen.atoms.positions
    # The first atom, not the film's face, now lies 2 Å inside the cell.
    assert np.abs(moved - moved.mean(axis=0)).max() < 2e-4 and np.abs(moved[:, :2]).max() < 1e-4
    assert np.array_equal(back.atoms.numbers, specimen.atoms.numbers)
    assert np.array_equal(back.particle, specimen.particle)
    assert facts[0]["particles"] == 1 and back.film is not None
    with pytest.raises(BadInputError, match=r"has 1 scenes, and there is no number 1 \(from 0\)"):
        draw_specimen(recipe, 1)


def scene(tmp_path, name="scene.xyz", **changes):
    """Two gold clusters over a carbon sheet, as another program would write it: no cell, no owners."""
    gold = bulk("Au", cubic=True) * (3, 3, 3)
    gold.positions += [3, 3, 5]
    other = gold.copy()
    other.positions += [20, 20, 3]
    sheet = np.mgrid[0:40:2.0, 0:40:2.0].reshape(2, -1).T
    atoms = gold + other
    atoms += ase.Atoms("C" * len(sheet), np.column_stack([sheet, np.zeros(len(sheet))]))
    atoms.cell = None
    atoms.pbc = False
    atoms.positions[0] = changes.get("first", atoms.positions[0])
    path = tmp_path / name
    ase.io.write(path, atoms, format="xyz")
    return path


def test_particles_are_the_pieces_that_hang_together(tmp_path):
    recipe, facts = import_scenes([scene(tmp_path)], "xyz", ["C"], 50.0, 1)
    assert facts[0]["particles"] == 2 and facts[0]["film_atoms"] == 400
    back = draw_specimen(recipe, 0)
    assert [(back.particle == i).sum() for i in (1, 2)] == [108, 108]
    # Centred in the field, with 2 Å of vacuum before and behind.
    low, high = back.atoms.positions.min(axis=0), back.atoms.positions.max(axis=0)
    assert np.allclose((low + high)[:2] / 2, 25, atol=0.01)
    assert low[2] == pytest.approx(2.0, abs=1e-3) and back.atoms.cell[2, 2] - high[2] == pytest.approx(2.0, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("1000000000\n\nAu 0 0 0\n", "xyz", "declares 1000000000 atoms"),
        ("2\n\nAu 0 0 0\nAu nan 0 3\n", "xyz", "atom 2 has no number"),
        ("2\n\nAu 0 0 0\nAu 0 0 0.5\n", "xyz", "atoms 1 and 2 lie 0.50 Å apart"),
        ("2\n\nAu 0 0 0\nQq 0 0 3\n", "xyz", "is not readable as xyz|unknown species"),
        ("2\n\nAu 0 0 0\nX 0 0 3\n", "xyz", "atom 2 is of an unknown species"),
        ("3\n\nAu 0 0 0\n", "xyz", "is not readable as xyz"),
        ("", "xyz", "is not readable as xyz|holds no atoms"),
        ("1\n\nIr 0 0 0\n", "xyz", "no entry for Ir"),
        ("1\n\nAu 0 0 0\n", "traj", "'traj' is not a text format"),
        ("1\n\nAu 0 0 0\n", "bundletrajectory", "is not a text format"),
        ("1\n\nAu 0 0 0\n", "", "is not a text format"),
    ],
)
def test_bad_structures_are_one_line_at_once(tmp_path, text, form, message):
    path = tmp_path / "bad.xyz"
    path.write_text(text)
    import_scenes([scene(tmp_path, "good.xyz")], "xyz", ["C"], 50.0, 1)
    began = time.perf_counter()
    with pytest.raises(BadInputError, match=message) as fault:
        import_scenes([path], form, ["C"], 20.0, 1)
    assert time.perf_counter() - began < 20
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    ("scale", "match"),
    [
        (1.0, None),
        (0.5, "Au [0-9]+ and Au [0-9]+ lie 1.44 Å apart, closer than 1.6 Å"),
        (0.7, "g/cm³, more than any solid has"),
        (1.889726, "no atoms lie closer for their elements than Au [0-9]+ and Au [0-9]+ lie 5.45 Å apart"),
    ],
)
def test_scenes_that_no_solid_has_are_warned_of(tmp_path, call, scale, match):
    gold = bulk("Au", cubic=True) * (4, 4, 4)
    gold.set_cell(gold.cell * scale, scale_atoms=True)
    ase.io.write(tmp_path / "gold.xyz", gold, format="extxyz")
    code, out, error = call("specimen", "import", "gold.xyz", "--format", "extxyz", "--out", "gold.yaml", "--json")
    warnings = json.loads(out)["scenes"][0]["warnings"]
    assert code == 0 and error.splitlines() == [f"passband: warning: gold.xyz: {line}" for line in warnings]
    assert bool(warnings) == (match is not None) and (match is None or re.search(match, warnings[0]))


def test_fields_that_do_not_fit(tmp_path):
    path = scene(tmp_path)
    with pytest.raises(BadInputError, match="has no cell; give the side of the field with field"):
        import_scenes([path], "xyz", ["C"], None, 1)
    with pytest.raises(BadInputError, match="spans 38 Å across the beam, more than the field of 20"):
        import_scenes([path], "xyz", ["C"], 20.0, 1)
    oblong = ase.Atoms("Au", [[0, 0, 0]], cell=[10, 12, 10], pbc=True)
    ase.io.write(tmp_path / "oblong.xyz", oblong, format="extxyz")
    with pytest.raises(BadInputError, match="not square across the beam"):
        import_scenes([tmp_path / "oblong.xyz"], "extxyz", ["C"], None, 1)


def test_no_format_that_unpickles_is_read():
    assert {"xyz", "extxyz", "vasp", "prismatic", "cif"} <= set(readable_formats())
    assert not {"traj", "bundletrajectory", "gpw", "db", "json"} & set(readable_formats())


def test_the_verbs(tmp_path, call):
    (tmp_path / "r.yaml").write_text(dump(RECIPE))
    code, out, error = call("specimen", "preview", "r.yaml", "--index", 1, "--seed", 4, "--out", "seen", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["index"] == 1 and facts["seed"] == 4 and len(facts["particles"]) == 1
    page = (tmp_path / "seen" / "r-1.html").read_text()
    assert "Plotly.newPlot" in page and "http://" not in page.split("<script")[0]
    assert (tmp_path / "seen" / "r-1.png").stat().st_size > 50_000
    code, out, error = call("specimen", "export", "r.yaml", "s.xyz", "--index", 2, "--json")
    assert code == 0 and json.loads(out)["files"] == ["s.xyz"]
    code, out, error = call("specimen", "export", "r.yaml", "s.npz", "--pixel", 0.37)
    assert code == 2 and "such as 0.371" in error and not (tmp_path / "s.npz").exists()
    code, out, error = call("specimen", "export", "r.yaml", "s.stl")
    assert code == 2 and "names no format" in error
    code, out, error = call("specimen", "import", "s.xyz", "--format", "extxyz", "--out", "given.yaml", "--json")
    assert code == 0 and json.loads(out)["scenes"][0]["particles"] == 1
    code, out, error = call("specimen", "gallery", "r.yaml", "given.yaml", "--count", 1, "--out", "all.html", "--json")
    assert code == 0 and json.loads(out)["scenes"] == 2
    assert (tmp_path / "all.html").read_text().count("<img") == 2
    code, out, error = call("simulate", "given.yaml", "--count", 2, "--condition", "team05_300kv")
    assert code == 2 and "has 1 scenes" in error
    (tmp_path / "study.yaml").write_text(
        "specimens: given.yaml\nconditions: {base: {energy_ev: 3e5}, vary: {defocus_angstrom: [0, 50]}}\n"
    )
    code, out, error = call("study", "run", "study.yaml")
    assert (
        code == 2
        and "asks for 240 specimens, and 1 scenes are given" in error
        and not (tmp_path / "runs" / "study").exists()
    )
    code, out, error = call("specimen", "import", "s.xyz", "--format", "extxyz", "--out", "x.yaml", "--support", "Zz")
    assert code == 2 and "not a chemical element" in error and not (tmp_path / "x.yaml").exists()
