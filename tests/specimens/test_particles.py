"""Shapes, grains, defects and orientations, against counts and distances that are known without our code."""

import itertools

import numpy as np
import pytest
from scipy.spatial import ConvexHull, cKDTree
from scipy.spatial.distance import pdist
from scipy.stats import kstest

from passband.base.distribution import Distribution
from passband.base.identity import seed_from
from passband.specimens import ParticleRecipe
from passband.specimens.crystals import library_crystal
from passband.specimens.defects import add_planar, roughen, vacancies
from passband.specimens.grains import fill, miller
from passband.specimens.particles import draw_orientation, draw_particle
from passband.specimens.recipes import OrientationRecipe
from passband.specimens.shapes import (
    RandomFacets,
    Rod,
    Sphere,
    TruncatedOctahedron,
    Twinned,
    Wulff,
    draw_grains,
)

AU = library_crystal("Au")
BOND = 4.0782 / np.sqrt(2)


def rng(seed=0):
    return np.random.default_rng(seed)


def atoms_of(shape, crystal=AU, diameter=40.0, seed=0):
    return fill(crystal, draw_grains(shape, crystal, diameter, rng(seed)))


def stream(name):
    return np.random.default_rng(seed_from("test", name))


def neighbours(positions, reach):
    return np.bincount(cKDTree(positions).query_pairs(reach, output_type="ndarray").ravel(), minlength=len(positions))


@pytest.mark.parametrize(
    ("shells", "atoms"),
    [(3, 147), (4, 309), (5, 561), (7, 1415), (9, 2869)],
)
def test_icosahedra_have_mackays_numbers(shells, atoms):
    """Mackay (1962): (10 n³ + 15 n² + 11 n + 3) / 3 atoms in n shells; the Wulff {110} facets take nothing off up to 10 shells."""
    n = shells
    assert atoms == (10 * n**3 + 15 * n**2 + 11 * n + 3) // 3
    # Edges from the centre keep the crystal's bond; the corners of shell n lie n bonds away, 2 % of which {110} cuts off.
    positions, _, grain = atoms_of(Twinned(kind="icosahedron", variation=0), diameter=2 * (shells + 0.2) * BOND)
    assert len(positions) == atoms
    assert len(np.unique(grain)) == 20
    assert pdist(positions).min() == pytest.approx(BOND, rel=1e-6)


def test_decahedron_is_five_grains_that_share_an_axis():
    positions, _, grain = atoms_of(Twinned(kind="decahedron", variation=0), diameter=40.0)
    assert len(np.unique(grain)) == 5
    assert pdist(positions).min() == pytest.approx(BOND, rel=1e-6)
    axis = positions[np.hypot(positions[:, 0], positions[:, 1]) < 1e-6]
    assert np.allclose(np.diff(np.sort(axis[:, 2])), BOND)
    # Turned by a fifth it is itself.
    c, s = np.cos(2 * np.pi / 5), np.sin(2 * np.pi / 5)
    turned = positions @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    assert cKDTree(positions).query(turned)[0].max() < 1e-6
    # Re-entrant edges: the hull is larger than the atoms' volume.
    assert ConvexHull(positions).volume > 0.95 * len(positions) * AU.volume_per_atom * 0.6
    # Inside, every atom has twelve neighbours, across twin planes too.
    inner = np.linalg.norm(positions, axis=1) < 8
    assert (neighbours(positions, 1.2 * BOND)[inner] == 12).all()


def test_truncated_octahedron_at_a_magic_size():
    """The regular one has 8 hexagons and 6 squares: 201 atoms after 38 (Martin 1996), when an octahedral hole is its centre."""
    shape = TruncatedOctahedron()
    grain = draw_grains(shape, AU, 20.0, rng())[0]
    assert len(grain.outline.normals) == 14
    # Volume of a regular truncated octahedron of edge a: 8 √2 a³, circumscribed radius a √10 / 2.
    edge = 20.0 / np.sqrt(10)
    hull = ConvexHull(grain.outline.corners(np.zeros(3)))
    assert hull.volume == pytest.approx(8 * np.sqrt(2) * edge**3, rel=0.01)


@pytest.mark.parametrize("name", ["Au", "W", "Si", "CdS-wurtzite", "TiO2-anatase"])
def test_spheres_have_the_volume_of_their_atoms(name):
    crystal = library_crystal(name)
    counts = [len(atoms_of(Sphere(), crystal, 50.0, seed)[0]) for seed in range(8)]
    assert np.mean(counts) == pytest.approx(np.pi / 6 * 50**3 / crystal.volume_per_atom, rel=0.01)


def test_rod_is_a_capsule_along_its_axis():
    crystal = library_crystal("CdSe-wurtzite")
    positions, numbers, _ = atoms_of(Rod(aspect_ratio=Distribution(values=[4.0]), axis=(0, 0, 1)), crystal, 80.0)
    assert np.ptp(positions[:, 2]) == pytest.approx(80, abs=4)
    assert np.hypot(positions[:, 0], positions[:, 1]).max() == pytest.approx(10, abs=0.5)
    volume = np.pi * 10**2 * 60 + 4 / 3 * np.pi * 10**3
    assert len(positions) * crystal.volume_per_atom == pytest.approx(volume, rel=0.03)
    assert abs((numbers == 48).mean() - 0.5) < 0.02


def test_facets_of_the_wulff_shape_are_flat_and_at_wulffs_distances():
    grain = draw_grains(Wulff(surface_energies={"111": 1.0, "100": 1.1}, variation=0), AU, 60.0, rng())[0]
    outline = grain.outline
    cubes = np.isclose(np.abs(outline.normals).max(axis=1), 1)
    assert cubes.sum() == 6 and len(cubes) == 14
    assert np.ptp(outline.distances[cubes]) < 1e-9
    assert outline.distances[cubes][0] / outline.distances[~cubes][0] == pytest.approx(1.1)
    assert np.linalg.norm(outline.corners(np.zeros(3)), axis=1).max() == pytest.approx(30.0)


def test_random_facets_differ_and_stay_within_the_sphere():
    first, second = (atoms_of(RandomFacets(), seed=i)[0] for i in (1, 2))
    assert len(first) != len(second)
    assert np.linalg.norm(first, axis=1).max() <= 20 + 1e-6


@pytest.mark.parametrize(("text", "indices"), [("111", (1, 1, 1)), ("1-10", (1, -1, 0)), ("10 0 -1", (10, 0, -1))])
def test_miller_indices(text, indices):
    assert miller(text) == indices


@pytest.mark.parametrize("text", ["11", "000", "abc", "1111", "1.5 0 0"])
def test_what_is_no_miller_indices(text):
    with pytest.raises(ValueError, match="Miller"):
        miller(text)


def hcp_like(positions, inner):
    """Common neighbours tell fcc (12 × 421) from hcp (6 × 421, 6 × 422): Honeycutt and Andersen (1987)."""
    tree = cKDTree(positions)
    sets = [set(x) for x in tree.query_ball_point(positions, 1.2 * BOND)]
    result = []
    for i in inner:
        kinds = []
        for j in sets[i] - {i}:
            common = (sets[i] & sets[j]) - {i, j}
            bonds = [sum(b in sets[a] for b in common if b != a) for a in common]
            kinds.append(sorted(bonds))
        result.append(sum(k == [0, 1, 1, 2] for k in kinds))
    return np.array(result)


@pytest.mark.parametrize(("twins", "faults", "planes"), [(1, 0, 1), (0, 1, 2), (2, 0, 2)])
def test_twins_and_faults_are_layers_of_hcp(twins, faults, planes):
    """A twin is one layer of hcp stacking, an intrinsic fault is two (Hirth and Lothe 1982)."""
    whole = draw_grains(Sphere(), AU, 50.0, rng(3))[0]
    grains = add_planar(AU, whole, twins, faults, rng(5))
    positions, _, _ = fill(AU, grains)
    assert len(grains) == twins + faults + 1
    assert pdist(positions).min() == pytest.approx(BOND, rel=1e-6)
    normal = grains[0].walls.normals[0]
    inner = np.flatnonzero(np.linalg.norm(positions, axis=1) < 18)
    assert (neighbours(positions, 1.2 * BOND)[inner] == 12).all()
    hcp = hcp_like(positions, inner) == 6
    heights = np.unique((positions[inner][hcp] @ normal).round(2))
    assert len(heights) == planes
    for height in heights:
        layer = np.abs(positions[inner] @ normal - height) < 0.02
        assert hcp[layer].all()


@pytest.mark.parametrize("name", ["CdS-zincblende", "Si", "CdS-wurtzite", "W"])
def test_planar_defects_keep_bonds_elsewhere(name):
    crystal = library_crystal(name)
    twins, faults = {"CdS-wurtzite": (0, 2), "W": (2, 0)}.get(name, (1, 1))
    whole = draw_grains(Sphere(), crystal, 45.0, rng(1))[0]
    positions, numbers, _ = fill(crystal, add_planar(crystal, whole, twins, faults, rng(2)))
    perfect, _, _ = fill(crystal, [whole])
    bond = pdist(perfect).min()
    if name != "W":
        assert pdist(positions).min() == pytest.approx(bond, rel=1e-3)
        # Four bonds to the other kind everywhere inside, across the planes too.
        inner = np.linalg.norm(positions, axis=1) < 17
        assert (neighbours(positions, 1.1 * bond)[inner] == 4).all()
        if len(np.unique(numbers)) == 2:
            pairs = cKDTree(positions).query_pairs(1.1 * bond, output_type="ndarray")
            assert (numbers[pairs[:, 0]] != numbers[pairs[:, 1]]).all()
    else:
        assert pdist(positions).min() > 0.85 * bond
    assert len(positions) == pytest.approx(len(perfect), rel=0.03)
    assert cKDTree(perfect).query(positions)[0].max() > 0.5


def test_defects_that_a_crystal_does_not_have_are_refused():
    with pytest.raises(ValueError, match="twins: known for fcc.*PbS is other"):
        ParticleRecipe(crystal="PbS", twins=(1, 1))
    with pytest.raises(ValueError, match="not fcc"):
        ParticleRecipe(crystal="Fe", shape="icosahedron")
    with pytest.raises(ValueError, match="not fcc"):
        ParticleRecipe(crystal="W", shape="decahedron", diameter_angstrom=40.0)
    with pytest.raises(ValueError, match="twinned already"):
        ParticleRecipe(shape="decahedron", twins=(1, 2))


def test_vacancies_and_roughness_take_their_share():
    positions, _, _ = atoms_of(Wulff(variation=0))
    keep = vacancies(len(positions), 0.03, rng())
    assert (~keep).sum() == round(0.03 * len(positions))
    count = neighbours(positions, 1.2 * BOND)
    keep = roughen(positions, 1.2 * BOND, 0.2, rng())
    assert (~keep).sum() == round(0.2 * (count < 12).sum())
    assert (count[~keep] < 12).all()
    # The loosest leave first.
    assert count[~keep].mean() < count[count < 12].mean() - 0.3


def test_alloy_and_shell():
    mixed = draw_particle(ParticleRecipe(diameter_angstrom=50, alloy={"Au": {"Ag": 0.3, "Pd": 0.2}}), stream)
    shares = [(mixed.numbers == z).mean() for z in (79, 47, 46)]
    assert np.allclose(shares, [0.5, 0.3, 0.2], atol=4 * np.sqrt(0.25 / len(mixed.numbers)))
    shell = {"thickness_angstrom": 5, "replace": {"Se": "S"}}
    recipe = ParticleRecipe(crystal="CdSe-wurtzite", shape="sphere", diameter_angstrom=50, shell=shell)
    coated = draw_particle(recipe, stream)
    radius = np.linalg.norm(coated.positions, axis=1)
    assert radius[coated.numbers == 16].min() > 20 - 1e-9
    assert radius[coated.numbers == 34].max() < 20 + 1e-9
    assert radius[coated.numbers == 48].min() < 5
    # A decahedron's twin planes are no surface.
    recipe = ParticleRecipe(
        shape="decahedron", diameter_angstrom=50, shell={"thickness_angstrom": 4, "replace": {"Au": "Pd"}}
    )
    inner = draw_particle(recipe, stream)
    assert (inner.numbers[np.linalg.norm(inner.positions, axis=1) < 10] == 79).all()
    assert (inner.numbers == 46).any()


def test_lattice_scale_and_strain():
    larger = draw_particle(ParticleRecipe(lattice_scale=1.05), stream)
    assert pdist(larger.positions).min() == pytest.approx(1.05 * BOND, rel=1e-6)
    strained = draw_particle(ParticleRecipe(strain=0.02), stream)
    lattice = strained.truth.lattices[0]
    edges = np.linalg.norm(lattice, axis=1) / 4.0782 - 1
    assert 0.001 < np.abs(edges).max() < 0.07
    # The lattice is that of the atoms: differences of positions are halves of its vectors.
    steps = (strained.positions[1:] - strained.positions[0]) @ np.linalg.inv(lattice) * 2
    assert np.abs(steps - steps.round()).max() < 1e-6


def test_uniform_orientations_are_uniform():
    """Angles of rotation under Haar's measure have the density (1 − cos θ) / π; directions are even on the sphere."""
    recipe, generator = OrientationRecipe(), rng(11)
    turns = [draw_orientation(recipe, AU, generator) for _ in range(3000)]
    angles = np.array([t.magnitude() for t in turns])
    assert kstest(angles, lambda x: (x - np.sin(x)) / np.pi).pvalue > 0.01
    directions = np.array([t.as_matrix()[:, 2] for t in turns])
    assert kstest(directions[:, 2], "uniform", args=(-1, 2)).pvalue > 0.01
    azimuth = np.arctan2(directions[:, 1], directions[:, 0])
    assert kstest(azimuth, "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 0.01


def test_zone_axes_point_along_the_beam():
    recipe = OrientationRecipe(zone_axes=[(1, 1, 0), (1, 1, 1)], tilt_rad=0.03)
    generator = rng(4)
    axes = {tuple(a): np.array(a) / np.linalg.norm(a) for a in itertools.product((-1, 0, 1), repeat=3) if any(a)}
    tilts, hits = [], {"110": 0, "111": 0}
    for _ in range(2000):
        turn = draw_orientation(recipe, AU, generator)
        beam = turn.inv().apply([0, 0, 1])
        near = max(((1, 1, 0), (1, 1, 1)), key=lambda a: axes[a] @ beam)
        hits["".join(map(str, near))] += 1
        tilts.append(np.arccos(min(1.0, axes[near] @ beam)))
    # Two normal components: a Rayleigh distribution, mean σ √(π/2).
    assert np.mean(tilts) == pytest.approx(0.03 * np.sqrt(np.pi / 2), rel=0.06)
    assert abs(hits["110"] - 1000) < 5 * np.sqrt(500)
    half = OrientationRecipe(zone_axes=[(0, 0, 1)], tilt_rad=0.0, share=0.5)
    along = [abs(draw_orientation(half, AU, generator).as_matrix()[2, 2]) > 1 - 1e-9 for _ in range(1000)]
    assert abs(np.mean(along) - 0.5) < 0.08


def test_zone_axis_of_a_hexagonal_crystal_is_a_direction_of_its_lattice():
    crystal = library_crystal("CdS-wurtzite")
    turn = draw_orientation(OrientationRecipe(zone_axes=[(2, 1, 0)], tilt_rad=0.0), crystal, rng()).as_matrix()
    direction = turn @ (np.array([2, 1, 0]) @ crystal.cell)
    assert np.allclose(direction / np.linalg.norm(direction), [0, 0, 1])


def test_one_change_leaves_the_other_draws_alone():
    plain = draw_particle(ParticleRecipe(), stream)
    other = draw_particle(ParticleRecipe(crystal="Pt"), stream)
    assert plain.truth.diameter == other.truth.diameter
    assert np.allclose(plain.truth.lattices / 4.0782, other.truth.lattices / 3.9231)
    holey = draw_particle(ParticleRecipe(vacancies=0.1), stream)
    assert cKDTree(plain.positions).query(holey.positions)[0].max() < 1e-9
