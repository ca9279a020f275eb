import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from passband.errors import BadInputError
from passband.specimen import ParticleRecipe, SpecimenRecipe, SubstrateRecipe, draw_specimen, particle_mask
from passband.specimen.particles import draw_particle, facet_normals
from passband.specimen.substrates import draw_film, number_density

RECIPE = SpecimenRecipe()


def test_carbon_has_density_and_distance():
    recipe = SubstrateRecipe(thickness_angstrom=(25.0, 25.0))
    assert number_density(recipe) == pytest.approx(0.10028, rel=1e-4)  # 2.0 g/cm³ over 12.011 u
    film = draw_film(recipe, 30.0, np.random.default_rng(0))
    assert len(film) == pytest.approx(0.10028 * 30 * 30 * 25, abs=1)
    images = np.concatenate([film + np.array([dx, dy, 0]) for dx in (-30, 0, 30) for dy in (-30, 0, 30)])
    nearest, _ = cKDTree(images).query(film, k=2)
    assert nearest[:, 1].min() >= 1.4
    # Evenly filled: no slab of a tenth of the thickness is off by more than five standard deviations.
    counts, _ = np.histogram(film[:, 2], bins=10, range=(0, 25))
    assert abs(counts - len(film) / 10).max() < 5 * np.sqrt(len(film) / 10)


def test_impossible_film_is_refused():
    with pytest.raises(BadInputError, match=r"minimum_distance_angstrom"):
        draw_film(SubstrateRecipe(density_g_per_cm3=12.0), 15.0, np.random.default_rng(0))


def test_particle_is_gold_of_the_right_size():
    recipe = ParticleRecipe(diameter_angstrom=(30.0, 30.0), facet_variation=0.0)
    particle = draw_particle(recipe, np.random.default_rng(2))
    distances = pdist(particle)
    assert distances.min() == pytest.approx(4.078 / np.sqrt(2), rel=1e-9)
    assert np.linalg.norm(particle, axis=1).max() <= 15.0 + 1e-9
    # Volume per atom of fcc gold is a³/4; the facets take up to half of the sphere's volume.
    sphere = 4 / 3 * np.pi * 15.0**3 / (4.078**3 / 4)
    assert 0.5 * sphere < len(particle) < sphere


def test_facets_are_flat_and_complete():
    normals = facet_normals()
    assert len(normals) == 26
    assert np.allclose(sum(n for n, _ in normals), 0)
    assert sorted({round(r, 2) for _, r in normals}) == [1.0, 1.1, 1.2]


def test_same_index_same_atoms_other_index_other_atoms():
    a, b, c = draw_specimen(RECIPE, 3), draw_specimen(RECIPE, 3), draw_specimen(RECIPE, 4)
    assert np.array_equal(a.atoms.positions, b.atoms.positions)
    assert len(a.atoms) != len(c.atoms) or not np.allclose(a.atoms.positions, c.atoms.positions)


@pytest.mark.parametrize("index", range(6))
def test_particles_lie_on_the_film_inside_the_field_and_apart(index):
    specimen = draw_specimen(RECIPE, index)
    film = specimen.atoms.positions[specimen.particle == 0]
    own = [specimen.atoms.positions[specimen.particle == i] for i in range(1, specimen.particle.max() + 1)]
    assert 1 <= len(own) <= 2
    for particle in own:
        assert particle[:, 2].min() == pytest.approx(film[:, 2].max() + 2.0)
        assert particle[:, :2].min() >= 2 and particle[:, :2].max() <= 51.2 - 2
        assert 14 * 0.6 < np.ptp(particle, axis=0).max() <= 28
    if len(own) == 2:
        nearest, _ = cKDTree(own[0][:, :2]).query(own[1][:, :2])
        assert nearest.min() >= 4.0


def test_mask_is_the_projected_outline():
    specimen = draw_specimen(RECIPE, 0)
    n = 256
    mask = particle_mask(specimen, n)
    step = 51.2 / n
    gold = specimen.atoms.positions[specimen.particle > 0][:, :2]
    assert mask[tuple((gold / step).round().astype(int).T)].all()
    # Independent: a pixel centre is never farther from gold than the covalent radius plus half a lattice row.
    pixels = np.argwhere(mask) * step
    nearest, _ = cKDTree(gold).query(pixels)
    assert nearest.max() < 1.36 + 2.1
    outside = np.argwhere(~mask) * step
    nearest, _ = cKDTree(gold).query(outside)
    assert nearest.min() > 1.3
    assert np.array_equal(particle_mask(specimen, n // 2), mask[::2, ::2])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"particles": {"diameter_angstrom": [20.0, 60.0]}}, "does not fit the field"),
        ({"particles": {"diameter_angstrom": [20.0, 10.0]}}, "downwards"),
        ({"particles": {"element": "Xx"}}, "not a chemical element"),
        ({"particles": {"element": "Pt"}}, "no entry for Pt"),
        ({"particles": {"count": [0, 2]}}, "greater than or equal to 1"),
    ],
)
def test_bad_recipes(content, message):
    with pytest.raises(ValidationError, match=message):
        SpecimenRecipe.model_validate(content)


def test_too_many_particles_is_one_clear_error():
    crowded = SpecimenRecipe(particles=ParticleRecipe(count=(9, 9), diameter_angstrom=(25.0, 28.0)))
    with pytest.raises(BadInputError, match="no room for 9 particles"):
        draw_specimen(crowded, 0)
