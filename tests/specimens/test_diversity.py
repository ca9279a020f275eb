import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from passband.specimens import SpecimenRecipe, draw_specimen
from passband.specimens.diversity import coverage, soap_comparison, soap_descriptors


def family(count=12, start=0, substrate=None, **particle):
    particle = {"diameter_angstrom": 16.0} | particle
    recipe = SpecimenRecipe.model_validate(
        {"field_angstrom": 32.0, "particles": [particle], "substrate": substrate, "seed": 1}
    )
    return [draw_specimen(recipe, start + i) for i in range(count)]


def test_coverage_counts_what_is_there():
    found = coverage(family(3, crystal="PbS", shape="sphere") + family(1, substrate={"thickness_angstrom": 20.0}))
    assert found["particles"] == found["specimens"] == 4
    assert found["composition"]["crystals"] == {"Au": 0.25, "PbS": 0.75}
    assert found["composition"]["entropy_nat"] == pytest.approx(-0.25 * np.log(0.25) - 0.75 * np.log(0.75))
    assert sum(found["composition"]["elements"].values()) == pytest.approx(1)
    assert set(found["composition"]["elements"]) == {"Au", "Pb", "S"}
    assert found["film_thickness_angstrom"]["mean"] == pytest.approx(20)
    assert found["diameter_angstrom"]["deviation"] == pytest.approx(0, abs=1e-9)
    assert 10 < found["particle_extent_angstrom"]["mean"] <= 16
    empty = coverage([])
    assert empty["diameter_angstrom"] is empty["orientation"] is empty["composition"]["elements"] is None


def test_uniform_orientations_cover_what_chance_would_and_textures_less():
    found = coverage(family(120, shape="sphere"))["orientation"]
    # 120 draws over 72 cells hit 58.6 of them, with a deviation near 3.
    assert found["covered_if_uniform"] == pytest.approx(1 - (71 / 72) ** 120)
    assert found["covered"] == pytest.approx(found["covered_if_uniform"], abs=0.12)
    assert coverage(family(60, orientation={"zone_axes": [[0, 0, 1]]}))["orientation"]["covered"] <= 12 / 72
    strained = coverage(family(30, crystal="CdS-wurtzite", orientation={"zone_axes": [[0, 0, 1]]}))["orientation"]
    assert strained["covered"] <= 12 / 72


def test_descriptors_do_not_turn_with_the_particle():
    """The same sphere around the same atom, turned: one descriptor for every inner atom of a perfect crystal."""
    rng = np.random.default_rng(0)
    vectors = soap_descriptors(family(3, shape="sphere", diameter_angstrom=27.0), 200, rng=rng)
    # The most common environment is the bulk's, which all three particles share.
    near = (np.abs(vectors @ vectors[:200].T - 1) < 1e-9).sum(axis=0)
    bulk = vectors[near.argmax()]
    hits = np.abs(vectors @ bulk - 1) < 1e-9
    assert all(hits[i * 200 : (i + 1) * 200].any() for i in range(3))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)


def test_soap_tells_structures_apart_and_draws_of_one_kind_not():
    def compare(b, **options):
        return soap_comparison(gold, b, rng=np.random.default_rng(0), **options)

    gold = family()
    same = compare(family(start=100))
    assert same["p"] > 0.05
    scaled = [compare(family(start=100, lattice_scale=s)) for s in (1.02, 1.05, 1.10)]
    assert same["distance"] < scaled[0]["distance"] < scaled[1]["distance"] < scaled[2]["distance"]
    assert scaled[1]["p"] < 0.01
    # Silver has gold's lattice to 0.2 %: another element, the same geometry. Tungsten has another lattice.
    silver, tungsten = (family(start=100, crystal=c) for c in ("Ag", "W"))
    assert compare(silver)["p"] < 0.01 and compare(silver, species_blind=True)["p"] > 0.05
    assert compare(tungsten, species_blind=True)["distance"] > scaled[0]["distance"]
    assert soap_comparison(gold[:1], gold, rng=np.random.default_rng(0)) is None


def moved(specimen, positions):
    atoms = specimen.atoms.copy()
    atoms.positions = positions
    atoms.wrap(pbc=(True, True, False))
    return dataclasses.replace(specimen, atoms=atoms)


def test_descriptors_of_one_particle_turned_and_across_the_edge():
    def describe(s):
        return soap_descriptors([s], 40, rng=np.random.default_rng(0))

    (one,) = family(1)
    positions = one.atoms.positions
    centre = positions.mean(axis=0)
    turned = moved(one, (positions - centre) @ Rotation.random(rng=3).as_matrix().T + centre)
    across = moved(one, positions + np.array([32 - centre[0], 0, 0]))
    assert np.ptp(across.atoms.positions[:, 0]) > 25
    assert np.allclose(describe(turned), describe(one), atol=1e-9)
    assert np.allclose(describe(across), describe(one), atol=1e-9)


def test_descriptors_with_the_same_species_can_be_compared():
    sets = family(2), family(2, crystal="Ag"), family(2, crystal="CdSe-wurtzite", diameter_angstrom=20.0)
    species = ["Au", "Ag", "Cd", "Se"]
    gold, silver, cdse = (soap_descriptors(s, 8, rng=np.random.default_rng(0), species=species) for s in sets)
    assert gold.shape == silver.shape == cdse.shape
    assert np.abs(gold @ silver.T).max() < 1e-12


def test_no_p_below_what_the_divisions_allow():
    # Two against two divide in three ways, so that no p is below a third, but for chance in drawing them.
    for start in range(0, 160, 8):
        four = family(4, start)
        found = soap_comparison(four[:2], four[2:], rng=np.random.default_rng(start), per_specimen=8)
        assert found["p"] > 0.2
