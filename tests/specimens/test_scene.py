import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import ndimage
from scipy.spatial import cKDTree

from passband.base.errors import BadInputError
from passband.specimens import ParticleRecipe, SpecimenRecipe, draw_specimen, make_labels
from passband.specimens.recipe_files import load_recipe

RECIPE = SpecimenRecipe()
DIGEST = """
import hashlib
from passband.specimens import SpecimenRecipe, draw_specimen
s = draw_specimen(SpecimenRecipe.model_validate({content!r}), 2)
print(hashlib.sha256(s.atoms.positions.tobytes() + s.atoms.numbers.tobytes() + s.particle.tobytes()).hexdigest())
"""
FULL = {
    "field_angstrom": 60.0,
    "particles": [
        {
            "crystal": "Au",
            "count": [1, 2],
            "shape": {"kind": "wulff", "variation": 0.1},
            "diameter_angstrom": {"log_normal": [20.0, 0.1]},
            "lattice_scale": 1.01,
            "orientation": {"zone_axes": [[1, 1, 0]], "tilt_rad": 0.02},
            "twins": [0, 2],
            "stacking_faults": [0, 1],
            "vacancies": 0.02,
            "roughness": 0.1,
            "strain": 0.01,
            "alloy": {"Au": {"Ag": 0.2}},
            "shell": {"thickness_angstrom": 4.0, "replace": {"Au": "Pd"}},
        },
        {"crystal": "CdSe-wurtzite", "shape": "rod", "diameter_angstrom": 24.0, "position": "in"},
        {"crystal": "Pt", "shape": "icosahedron", "diameter_angstrom": 16.0, "position": "under"},
    ],
    "substrate": {"thickness_angstrom": [25.0, 35.0], "hole": {}},
    "overlap": "projected",
}


def digest(specimen):
    atoms = specimen.atoms
    return hashlib.sha256(atoms.positions.tobytes() + atoms.numbers.tobytes() + specimen.particle.tobytes()).hexdigest()


def test_same_recipe_and_index_same_atoms_in_another_process():
    recipe = SpecimenRecipe.model_validate(FULL)
    here = [digest(draw_specimen(recipe, 2)) for _ in range(2)]
    code = DIGEST.format(content=FULL)
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert here == [other, other]
    # On every machine, with any version of the libraries: if this fails, published recipes no longer name the same scenes.
    assert other == "ce560f82c353f18dfedb8d3889a6bd5184f4a79b94c37c534af8ffd677f6535b"
    assert digest(draw_specimen(recipe, 3)) != other
    assert digest(draw_specimen(SpecimenRecipe.model_validate({**FULL, "seed": 5}), 2)) != other


def changes():
    """Each field of the recipe with another value."""
    first, rest = FULL["particles"][0], FULL["particles"][1:]
    for key, value in {
        "crystal": "Ag", "count": [2, 2], "shape": "sphere", "diameter_angstrom": 21.0, "lattice_scale": 1.0,
        "orientation": {"zone_axes": [[1, 0, 0]], "tilt_rad": 0.02}, "twins": [3, 3], "stacking_faults": [2, 2],
        "vacancies": 0.03, "roughness": 0.2, "strain": 0.02, "alloy": {"Au": {"Ag": 0.9}}, "shell": None, "position": "in",
    }.items():  # fmt: skip
        changed = {**first, key: value}
        if key == "crystal":
            changed |= {"alloy": {}, "shell": None}
        yield f"particles.{key}", {**FULL, "particles": [changed, *rest]}
    for key, value in {"thickness_angstrom": 31.0, "density_g_per_cm3": 2.2, "hole": None, "edge": {}}.items():
        yield f"substrate.{key}", {**FULL, "substrate": {**FULL["substrate"], key: value}}
    yield "substrate.material", {**FULL, "substrate": {"material": "silica", "thickness_angstrom": [25.0, 35.0]}}
    yield "field_angstrom", {**FULL, "field_angstrom": 61.0}
    yield "overlap", {**FULL, "overlap": "apart", "gap_angstrom": 1.0, "field_angstrom": 100.0}
    yield "gap_angstrom", {**FULL, "gap_angstrom": 2.0}


@pytest.mark.parametrize(("field", "content"), list(changes()), ids=[name for name, _ in changes()])
def test_changing_any_field_changes_the_atoms(field, content):
    seen = {digest(draw_specimen(SpecimenRecipe.model_validate(c), i)) for c in (FULL, content) for i in (2, 3, 4)}
    assert len(seen) == 6


@pytest.mark.parametrize("index", range(6))
def test_particles_lie_on_the_film_inside_the_field_and_apart(index):
    specimen = draw_specimen(RECIPE, index)
    film = specimen.atoms.positions[specimen.particle == 0]
    own = [specimen.atoms.positions[specimen.particle == i + 1] for i in range(len(specimen.particles))]
    assert 1 <= len(own) <= 2
    for particle, truth in zip(own, specimen.particles, strict=True):
        nearest = cKDTree(film, boxsize=[51.2, 51.2, 1000]).query(particle)[0].min()
        assert nearest == pytest.approx(2.3, abs=0.02)
        assert particle[:, 2].mean() > film[:, 2].max()
        assert particle[:, :2].min() >= 2 and particle[:, :2].max() <= 51.2 - 2
        assert np.linalg.norm(particle - truth.centre, axis=1).max() <= truth.diameter / 2 + 1e-4
        assert 14 <= truth.diameter <= 28
    if len(own) == 2:
        nearest, _ = cKDTree(own[0][:, :2]).query(own[1][:, :2])
        assert nearest.min() >= 4.0
    height = specimen.atoms.cell[2, 2]
    assert height - specimen.atoms.positions[:, 2].max() == pytest.approx(2.0, abs=1e-4)
    assert specimen.atoms.positions[:, 2].min() >= 2.0


def test_in_and_under_the_film():
    inside = draw_specimen(
        SpecimenRecipe(particles=[ParticleRecipe(position="in")], substrate={"thickness_angstrom": 50.0}), 0
    )
    own = inside.atoms.positions[inside.particle == 1]
    low, high = inside.film
    assert low < own[:, 2].min() and own[:, 2].max() < high
    film = inside.atoms.positions[inside.particle == 0]
    assert cKDTree(film).query(own)[0].min() > 2.5
    under = draw_specimen(SpecimenRecipe(particles=[ParticleRecipe(position="under")]), 0)
    own = under.atoms.positions[under.particle == 1]
    assert own[:, 2].max() < under.film[0] + 2
    assert own[:, 2].min() == pytest.approx(2.0, abs=1e-4)
    film = under.atoms.positions[under.particle == 0]
    assert cKDTree(film, boxsize=[51.2, 51.2, 1000]).query(own)[0].min() == pytest.approx(2.3, abs=0.02)


def test_projected_overlap_never_touches():
    recipe = SpecimenRecipe(
        particles=[ParticleRecipe(count=(6, 6), diameter_angstrom=(14, 18))], overlap="projected", field_angstrom=40.0
    )
    specimen = draw_specimen(recipe, 0)
    positions, owner = specimen.atoms.positions, specimen.particle
    pairs = cKDTree(positions, boxsize=[40, 40, 1000]).query_pairs(2.29, output_type="ndarray")
    assert (owner[pairs[:, 0]] == owner[pairs[:, 1]]).all()
    flat = [positions[owner == i][:, :2] for i in range(1, 7)]
    assert min(cKDTree(flat[i]).query(flat[j])[0].min() for i in range(6) for j in range(i)) < 1.0


def test_particles_in_vacuum_and_beside_a_hole():
    free = draw_specimen(SpecimenRecipe(substrate=None), 0)
    assert free.film is None and (free.particle > 0).all()
    recipe = SpecimenRecipe(substrate={"hole": {"radius_angstrom": 12.0}, "edge": {}}, particles=[ParticleRecipe()])
    for index in range(4):
        specimen = draw_specimen(recipe, index)
        film = specimen.atoms.positions[specimen.particle == 0][:, :2]
        centre = specimen.particles[0].centre[:2]
        assert cKDTree(film, boxsize=[51.2, 51.2]).query(centre % 51.2)[0] < 4


def test_sizes_follow_their_distribution():
    recipe = SpecimenRecipe(
        substrate=None, particles=[ParticleRecipe(shape="sphere", diameter_angstrom={"log_normal": [16.0, 0.2]})]
    )
    sizes = np.log([draw_specimen(recipe, i).particles[0].diameter for i in range(300)])
    assert sizes.mean() == pytest.approx(np.log(16.0), abs=0.05)
    assert sizes.std() == pytest.approx(0.2, rel=0.15)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"particles": {"diameter_angstrom": [20.0, 60.0]}}, "does not fit the field of 51.2"),
        ({"particles": {"diameter_angstrom": [20.0, 10.0]}}, "swap them"),
        ({"particles": {"crystal": "Xx"}}, "no crystal 'Xx' in the library"),
        ({"particles": {"count": [2, 1]}}, "downwards"),
        ({"particles": {"count": [0, 0]}}, "at least one population"),
        ({"particles": {"count": [0, 1_000_000_000]}}, "less than or equal to 10000"),
        ({"particles": {"count": [200, 200]}}, "200 particles have no room"),
        ({"particles": {"count": [9, 9], "diameter_angstrom": [25, 28]}}, "9 particles have no room"),
        ({"particles": {"diameter_angstrom": [3.0, 4.0]}}, "at least 8.156 Å"),
        ({"particles": {"diameter_angstrom": "wide"}}, "'wide' is no distribution"),
        ({"particles": {"shape": {"kind": "wulff", "surface_energies": {1: 1.0}}}}, "'1' are no Miller indices"),
        ({"substrate": {"hole": {"radius_angstrom": 60}}}, "leaves little of a field of 51.2"),
        ({"particles": {"shape": "cube"}}, "does not match any of the expected tags"),
        ({"particles": {"alloy": {"Ag": {"Au": 0.5}}}}, "Au has no Ag"),
        ({"particles": {"alloy": {"Au": {"Ag": 0.7, "Pd": 0.7}}}}, "add up to more than 1"),
        ({"particles": {"alloy": {"Au": {"Ir": 0.5}}}}, "has no entry for Ir"),
        ({"substrate": None, "particles": {"position": "in"}}, "needs a substrate"),
        (
            {"field_angstrom": 2000, "substrate": {"thickness_angstrom": 900}},
            "3.6e.08 atoms in a field, more than 2e.07",
        ),
        ({"field_angstrom": float("nan")}, "finite"),
    ],
)
def test_bad_recipes(content, message):
    with pytest.raises(ValidationError, match=message):
        SpecimenRecipe.model_validate(content)


def test_miller_indices_may_be_numbers():
    """As YAML reads them."""
    numbers, words = (
        ParticleRecipe.model_validate({"shape": {"kind": "wulff", "surface_energies": {key(111): 1.0, key(100): 1.1}}})
        for key in (int, str)
    )
    assert numbers == words


def test_too_many_particles_is_one_clear_error():
    crowded = SpecimenRecipe(particles=[ParticleRecipe(count=(5, 5), diameter_angstrom=(25.0, 28.0))])
    with pytest.raises(BadInputError, match="no room for 5 particles"):
        draw_specimen(crowded, 0)


def stacked(**changes):
    populations = [
        {"crystal": "Pt", "count": [2, 3], "shape": "sphere", "diameter_angstrom": 15.0, "carrier": "CeO2"},
        {"crystal": "CeO2", "count": [1, 2], "shape": "sphere", "diameter_angstrom": [24.0, 30.0]},
    ]
    return {"field_angstrom": 64.0, "overlap": "projected", "particles": populations} | changes


@pytest.mark.parametrize("index", range(4))
def test_carried_particles_rest_on_their_carriers(index):
    """Whatever the order of the file: the atoms next to a platinum particle are ceria's, and it hangs over one of its discs."""
    content = stacked()
    for particles in (content["particles"], content["particles"][::-1]):
        specimen = draw_specimen(SpecimenRecipe.model_validate({**content, "particles": particles}), index)
        crystals = np.array(["film", *(p.crystal for p in specimen.particles)])[specimen.particle]
        carriers = [p for p in specimen.particles if p.crystal == "CeO2"]
        for number, particle in enumerate(specimen.particles, start=1):
            if particle.crystal != "Pt":
                continue
            own = specimen.particle == number
            distance, nearest = cKDTree(specimen.atoms.positions[~own]).query(specimen.atoms.positions[own])
            assert distance.min() == pytest.approx(2.3, abs=1e-3)
            touched = crystals[~own][nearest[distance.argmin()]]
            assert touched in ("CeO2", "Pt") and touched != "film"
            assert min(np.hypot(*(particle.centre - c.centre)[:2]) / c.diameter for c in carriers) < 0.5
            assert particle.centre[2] > min(c.centre[2] for c in carriers)


def test_a_recipe_without_a_carrier_has_the_content_it_had():
    assert "carrier" not in SpecimenRecipe().model_dump(mode="json")["particles"][0]
    content = SpecimenRecipe.model_validate(stacked()).model_dump(mode="json")["particles"]
    assert content[0]["carrier"] == "CeO2" and "carrier" not in content[1]


def test_platinum_lies_on_ceria_in_the_bundled_recipe():
    assert [p.carrier for p in load_recipe("catalyst_on_ceria").particles] == ["CeO2", None]


PT, CEO2 = stacked()["particles"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"particles": [{**PT, "carrier": "CeO"}, CEO2]}, "carrier 'CeO': no other .*; did you mean CeO2?"),
        ({"particles": [{**PT, "carrier": "Pt"}, CEO2]}, "carrier 'Pt': no other population is of this crystal"),
        ({"particles": [PT]}, "carrier 'CeO2': no other population .* leave carrier out"),
        ({"overlap": "apart"}, "carrier 'CeO2': .* overlap: projected"),
        ({"particles": [{**PT, "position": "in"}, CEO2]}, "carrier 'CeO2': .* position: on"),
        ({"particles": [PT, {**CEO2, "carrier": "Pt"}]}, "carry each other in a circle"),
    ],
)
def test_impossible_carriers(changes, message):
    with pytest.raises(ValidationError, match=message):
        SpecimenRecipe.model_validate(stacked(**changes))


populations = st.lists(
    st.fixed_dictionaries(
        {
            "crystal": st.sampled_from(["Au", "CeO2", "PbS", "Fe"]),
            "count": st.sampled_from([[1, 1], [1, 3], [2, 2]]),
            "shape": st.sampled_from(["sphere", "random", "rod"]),
            "diameter_angstrom": st.floats(14, 22),
        }
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=15, deadline=None)
@given(particles=populations, overlap=st.sampled_from(["apart", "projected"]), seed=st.integers(0, 10**6))
def test_labels_of_any_populations_have_no_splinters(particles, overlap, seed):
    content = {"seed": seed, "field_angstrom": 110.0, "substrate": None, "particles": particles, "overlap": overlap}
    specimen = draw_specimen(SpecimenRecipe.model_validate(content), 0)
    labels = make_labels(specimen, 160)
    assert np.array_equal(labels.instances > 0, labels.mask)
    for number in np.unique(labels.instances[labels.mask]):
        _, count = ndimage.label(labels.instances == number)
        sizes = np.bincount(ndimage.label(labels.instances == number)[0].ravel())[1:]
        assert sizes.min() >= sizes.max() / 4 and (count == 1 or overlap == "projected")
    if overlap == "apart":
        trees = [
            cKDTree(specimen.atoms.positions[specimen.particle == i + 1, :2]) for i in range(len(specimen.particles))
        ]
        gaps = [a.sparse_distance_matrix(b, 3.9).nnz for i, a in enumerate(trees) for b in trees[:i]]
        assert not any(gaps)


CROWDED = {
    "field_angstrom": 80.0,
    "boundary": "across",
    "overlap": "projected",
    "particles": [
        {"count": [4, 4], "diameter_angstrom": {"log_normal": [18.0, 0.2]}},
        {"crystal": "Pt", "count": [1, 1], "diameter_angstrom": [40.0, 60.0]},
    ],
    "substrate": {"thickness_angstrom": 20.0, "contamination": {}},
}


def test_particles_lie_across_the_boundary_and_go_on_at_the_other_side():
    recipe, inside = SpecimenRecipe.model_validate(CROWDED), 0
    for index in range(4):
        specimen = draw_specimen(recipe, index)
        labels = make_labels(specimen, 80)
        inside += all(
            (
                specimen.atoms.positions[specimen.particle == i, :2] % 80
                == specimen.atoms.positions[specimen.particle == i, :2]
            ).all()
            for i in range(1, 6)
        )
        # Every atom of a particle lies in its mask, wherever it is in the periodic field.
        pixel = np.round(specimen.atoms.positions[specimen.particle > 0, :2]).astype(int) % 80
        assert labels.mask[pixel[:, 0], pixel[:, 1]].mean() > 0.99
        # No atom of film or contamination is closer to a particle's than a bond.
        box = np.array([80.0, 80.0, 1000.0])
        film, particles = (specimen.atoms.positions[(specimen.particle > 0) == own] % box for own in (False, True))
        nearest, _ = cKDTree(particles, boxsize=box).query(film)
        assert nearest.min() > 1.9
    assert inside == 0


def test_populations_occur_as_often_as_their_counts_and_have_their_sizes():
    content = CROWDED | {"substrate": None}
    recipe = SpecimenRecipe.model_validate(content)
    sizes = {"Au": [], "Pt": []}
    for index in range(40):
        for particle in draw_specimen(recipe, index).particles:
            sizes[particle.crystal].append(particle.diameter)
    assert len(sizes["Au"]) == 160 and len(sizes["Pt"]) == 40
    assert np.log(sizes["Au"]).mean() == pytest.approx(np.log(18), abs=0.05)
    assert np.log(sizes["Au"]).std() == pytest.approx(0.2, abs=0.03)
    assert min(sizes["Pt"]) >= 40 and max(sizes["Pt"]) <= 60


def test_a_field_has_as_many_populations_as_chosen_and_each_as_often():
    crystals = ["Au", "Pt", "Cu", "Ag", "Pd"]
    particles = [{"crystal": c, "count": [1, 1], "diameter_angstrom": 12.0} for c in crystals]
    content = {"field_angstrom": 64.0, "substrate": None, "particles": particles, "populations_per_field": [1, 3]}
    recipe = SpecimenRecipe.model_validate(content)
    present = [{p.crystal for p in draw_specimen(recipe, index).particles} for index in range(150)]
    assert {len(names) for names in present} == {1, 2, 3}
    often = {name: sum(name in names for names in present) for name in crystals}
    # Two of five in the mean: 60 ± 6.
    assert all(40 < count < 80 for count in often.values()), often


@pytest.mark.parametrize(
    ("choice", "message"), [([0, 1], "from 1 to 2"), ([1, 3], "from 1 to 2"), ([1, 1], "without its carrier")]
)
def test_impossible_choices_of_populations(choice, message):
    particles = [{"crystal": "CeO2", "diameter_angstrom": 24.0}, {"crystal": "Pt", "diameter_angstrom": 12.0}]
    if choice == [1, 1]:
        particles[1]["carrier"] = "CeO2"
    content = {"overlap": "projected", "particles": particles, "populations_per_field": choice}
    with pytest.raises(ValidationError, match=message):
        SpecimenRecipe.model_validate(content)


def test_apart_holds_across_the_boundary():
    content = CROWDED | {
        "overlap": "apart",
        "particles": {"count": [5, 5], "diameter_angstrom": 20.0},
        "substrate": None,
    }
    for index in range(5):
        specimen = draw_specimen(SpecimenRecipe.model_validate(content), index)
        for i in range(1, 6):
            own, others = (
                specimen.atoms.positions[(specimen.particle == i) == is_own, :2] % 80 for is_own in (True, False)
            )
            assert cKDTree(others, boxsize=80).query(own)[0].min() > 3.9


def test_the_usual_boundary_leaves_the_id_alone():
    assert not {"boundary", "label", "populations_per_field"} & RECIPE.model_dump().keys()
