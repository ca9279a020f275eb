import numpy as np
import pytest
from pydantic import ValidationError
from scipy.spatial import cKDTree

from passband.base.distribution import Distribution
from passband.specimens import SubstrateRecipe
from passband.specimens.substrates import (
    Contamination,
    Opening,
    draw_contamination,
    draw_film,
    draw_opening,
    number_density,
    smooth,
)

MATERIALS = [("carbon", 2.0), ("carbon", 1.8), ("carbon", 2.2), ("silica", 2.2), ("silicon_nitride", 3.0)]


def film_of(recipe, field=60.0, seed=0):
    return draw_film(recipe, field, np.random.default_rng(seed))


def test_number_densities():
    assert number_density(SubstrateRecipe()) == pytest.approx(0.10028, rel=1e-4)  # 2.0 g/cm³ over 12.011 u
    assert number_density(SubstrateRecipe(material="silica")) == pytest.approx(0.06615, rel=1e-3)  # 3 · 2.2 / 60.084 u
    assert number_density(SubstrateRecipe(material="silicon_nitride")) == pytest.approx(0.09015, rel=1e-3)


@pytest.mark.parametrize(("material", "density"), MATERIALS)
def test_films_keep_density_composition_and_distances(material, density):
    recipe = SubstrateRecipe(material=material, density_g_per_cm3=density, thickness_angstrom=40.0)
    field, shares = 60.0, []
    closest, counts = np.inf, []
    for seed in range(3):
        film, numbers, thickness = film_of(recipe, field, seed)
        assert thickness == 40.0
        assert film.min() >= 0 and film[:, :2].max() < field and film[:, 2].max() <= 40
        counts.append(len(film))
        shares.append((numbers == 14).mean())
        nearest, _ = cKDTree(film, boxsize=[field, field, 1000]).query(film, k=2)
        closest = min(closest, nearest[:, 1].min())
        # Evenly filled: no slab of a tenth of the thickness is off by more than a tenth, in any direction.
        for axis, length in enumerate((field, field, 40.0)):
            slabs, _ = np.histogram(film[:, axis], bins=10, range=(0, length))
            assert abs(slabs / slabs.mean() - 1).max() < 0.1
    assert np.mean(counts) == pytest.approx(number_density(recipe) * field**2 * 40, rel=0.01)
    assert abs(np.array(counts) / np.mean(counts) - 1).max() < 0.02
    assert np.mean(shares) == pytest.approx(
        {"carbon": 0, "silica": 1 / 3, "silicon_nitride": 3 / 7}[material], abs=0.01
    )
    assert closest > {"carbon": 1.15, "silica": 1.35, "silicon_nitride": 1.4}[material]


def test_a_film_meets_its_periodic_image_without_a_seam():
    recipe = SubstrateRecipe(thickness_angstrom=60.0)
    film, _, _ = film_of(recipe, 50.0)
    tree = cKDTree(film, boxsize=[50, 50, 1000])
    deep = (film[:, 2] > 4) & (film[:, 2] < 56)
    seam = deep & ((film[:, 0] < 1.5) | (film[:, 0] > 48.5))
    middle = deep & (film[:, 0] > 10) & (film[:, 0] < 40) & (film[:, 1] > 10) & (film[:, 1] < 40)
    bonds = np.array([len(x) - 1 for x in tree.query_ball_point(film, 1.8)])
    assert bonds[seam].mean() == pytest.approx(bonds[middle].mean(), rel=0.15)
    assert seam.sum() / 3.0 == pytest.approx(deep.sum() / 50.0, rel=0.06)


def test_every_film_is_another_and_none_repeats_the_block():
    a, b = (film_of(SubstrateRecipe(), seed=i)[0] for i in (0, 1))
    assert len(a) != len(b) or not np.allclose(a, b)
    # No shift within the field maps a film wider than the block onto itself.
    wide, _, _ = film_of(SubstrateRecipe(thickness_angstrom=10.0), field=130.0)
    inner = wide[(np.abs(wide[:, :2] - 65) < 20).all(axis=1)]
    tree = cKDTree(wide)
    rng = np.random.default_rng(0)
    for shift in rng.uniform(-40, 40, (200, 2)):
        if np.hypot(*shift) > 5:
            near, _ = tree.query(inner + np.array([*shift, 0.0]))
            assert (near < 0.05).mean() < 0.05


def test_openings():
    recipe = SubstrateRecipe(hole={"share": 1.0, "radius_angstrom": 15.0})
    opening = draw_opening(recipe, 60.0, np.random.default_rng(0))
    points = np.random.default_rng(1).uniform(0, 60, (40_000, 2))
    assert opening.contains(points).mean() == pytest.approx(np.pi * 15**2 / 60**2, rel=0.05)
    assert (opening.contains(points) == opening.contains(points + np.array([60, -120]))).all()
    edge = draw_opening(SubstrateRecipe(edge={}), 60.0, np.random.default_rng(3))
    assert 0.1 < edge.contains(points).mean() < 0.9
    some = [draw_opening(SubstrateRecipe(hole={"share": 0.3}), 60.0, np.random.default_rng(i)).hole for i in range(300)]
    assert abs(np.mean([h is not None for h in some]) - 0.3) < 0.1
    assert not Opening(60.0).contains(points).any()


def with_relief(seed=0, field=60.0, **content):
    recipe = SubstrateRecipe.model_validate({"thickness_angstrom": 40.0} | content)
    rngs = [np.random.default_rng([seed, i]) for i in (0, 1)]
    return recipe, draw_film(recipe, field, *rngs)[0], draw_film(recipe, field, np.random.default_rng([seed, 0]))[0]


def test_smooth_fields_have_their_deviation_and_correlation():
    given = [Distribution(values=[v]) for v in (3.0, 10.0)]
    points = np.array([[x, 30.0] for x in (20.0, 25.0, 30.0, 40.0, 120.0)])
    values = np.array([smooth(100.0, *given, np.random.default_rng(i)).at(points) for i in range(3000)])
    correlation = (values * values[:, :1]).mean(0) / 9
    # 120 Å is 20 Å again in a field of 100 Å.
    assert correlation == pytest.approx([1, np.exp(-0.125), np.exp(-0.5), np.exp(-2), 1], abs=0.08)
    assert values.mean() == pytest.approx(0, abs=0.2)


def test_a_relief_leaves_the_upper_face_and_changes_the_thickness():
    columns, tops = [], []
    for seed in range(6):
        recipe, film, plain = with_relief(seed, relief={"deviation_angstrom": 6.0, "length_angstrom": 15.0})
        counts, *_ = np.histogram2d(film[:, 0], film[:, 1], bins=6, range=((0, 60), (0, 60)))
        flat, *_ = np.histogram2d(plain[:, 0], plain[:, 1], bins=6, range=((0, 60), (0, 60)))
        columns.append([counts.ravel(), flat.ravel()])
        tops.append(film[:, 2].max())
    counts, flat = np.array(columns).transpose(1, 0, 2) / (number_density(recipe) * 100)
    assert 39 < min(tops) <= max(tops) <= 40
    # The mean of a square of 10 Å keeps most of a relief that is smooth over 15 Å.
    assert counts.std() == pytest.approx(6, rel=0.3) and flat.std() < 2
    assert counts.mean() == pytest.approx(40, abs=4.5)


def test_a_step_divides_the_film_in_two():
    recipe, film, _ = with_relief(2, step={"height_angstrom": 20.0, "waviness_angstrom": 0.0})
    counts, *_ = np.histogram2d(film[:, 0], film[:, 1], bins=12, range=((0, 60), (0, 60)))
    thickness = counts.ravel() / (number_density(recipe) * 25)
    thick = thickness > 50
    assert 0.15 < thick.mean() < 0.85
    assert np.median(thickness[thick]) == pytest.approx(60, abs=3)
    assert np.median(thickness[~thick]) == pytest.approx(40, abs=3)


def test_voids_are_empty_and_have_their_volume():
    recipe, film, plain = with_relief(3, voids={"count": [3, 3], "radius_angstrom": 6.0})
    lost = (len(plain) - len(film)) / number_density(recipe) / (4 / 3 * np.pi * 6**3)
    assert 1.2 < lost < 3.3  # whole, cut by a face, or overlapping
    grid = np.random.default_rng(0).uniform(0, [60, 60, 40], (20_000, 3))
    away, _ = cKDTree(film, boxsize=[60, 60, 1000]).query(grid)
    assert away.max() > 5


def test_contamination_lies_in_patches_on_the_film():
    recipe = Contamination(thickness_angstrom=10.0, length_angstrom=8.0)
    layers = [draw_contamination(recipe, 60.0, np.random.default_rng(i))[0] for i in range(16)]
    columns = [np.histogram2d(f[:, 0], f[:, 1], bins=6, range=((0, 60), (0, 60)))[0].ravel() / 10 for f in layers]
    assert min(f[:, 2].min() for f in layers) >= 1.5
    # The mean of a normal value of mean and deviation 10 Å, cut at 0.
    assert np.mean(columns) == pytest.approx(10.8, rel=0.15)
    assert np.mean(np.array(columns) < 2) > 0.05
    absent = [len(draw_contamination(Contamination(share=0.3), 60.0, np.random.default_rng(i))[0]) for i in range(60)]
    assert np.mean(np.array(absent) > 0) == pytest.approx(0.3, abs=0.15)


def test_what_a_film_lacks_leaves_its_id_alone():
    assert not {"relief", "step", "voids", "contamination"} & SubstrateRecipe().model_dump().keys()
    assert SubstrateRecipe(material="silica", contamination={}).elements() == {"Si", "O", "C"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"relief": {"deviation_angstrom": [-1, 5]}}, "deviation_angstrom: reaches from -1"),
        ({"voids": {"count": [5, 1]}}, "runs downwards"),
        ({"contamination": {"thickness_angstrom": 900.0}}, "keep it within 1 to 300"),
        ({"density_g_per_cm3": 2.5}, "carbon is made with 2, 1.8, 2.2 g/cm³"),
        ({"material": "silica", "density_g_per_cm3": 2.0}, "silica is made with 2.2"),
        ({"material": "gold"}, "'carbon', 'silica' or 'silicon_nitride'"),
        ({"thickness_angstrom": [1.0, 5.0]}, "keep it within 4 to 1000"),
        ({"hole": {"radius_angstrom": [-1, 5]}}, "above 0"),
        ({"thickness_angstrom": {"uniform": [5, 9], "normal": [5, 1]}}, "give one of"),
    ],
)
def test_bad_films(content, message):
    with pytest.raises(ValidationError, match=message):
        SubstrateRecipe.model_validate(content)
