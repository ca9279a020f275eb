import numpy as np
import pytest

from passband.base.errors import BadInputError
from passband.specimens.radial_distribution import radial_distribution

R_MAX = 7.5
BINS = 375  # 0.02 Å, edges off the lattice's distances


def lattice(basis, a, repeats):
    cells = np.stack(np.meshgrid(*[np.arange(n) for n in repeats], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    return a * (cells + np.array(basis)).reshape(-1, 3), a * np.array(repeats, dtype=float)


def neighbours(r, g, density):
    """Distances and numbers of neighbours of all shells that hold any."""
    edges = np.linspace(0, R_MAX, BINS + 1)
    numbers = g * density * 4 / 3 * np.pi * np.diff(edges**3)
    return r[numbers > 0], numbers[numbers > 0]


@pytest.mark.parametrize(
    ("basis", "density", "squares", "numbers"),
    [
        # Conway & Sloane, Sphere Packings, Lattices and Groups, theta series of Z³ and D3; distances² in a².
        ([[0, 0, 0]], 1, [1, 2, 3, 4, 5, 6], [6, 12, 8, 6, 24, 24]),
        (
            [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]],
            4,
            [0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6],
            [12, 6, 24, 12, 24, 8, 48, 6, 36, 24, 24, 24],
        ),
    ],
    ids=["simple cubic", "fcc"],
)
def test_a_lattice_has_its_shells(basis, density, squares, numbers):
    a = 3.037
    atoms, cell = lattice(basis, a, (5, 5, 5))
    r, counted = neighbours(*radial_distribution(atoms, cell, R_MAX, BINS), density / a**3)
    np.testing.assert_allclose(r, a * np.sqrt(squares), atol=0.01 + 1e-9)
    np.testing.assert_allclose(counted, numbers, rtol=1e-9)


def test_wrapping_changes_nothing():
    rng = np.random.default_rng(0)
    cell = np.array([16.0, 18.0, 20.0])
    atoms = rng.uniform(0, 1, (500, 3)) * cell
    moved = atoms + rng.integers(-2, 3, (500, 3)) * cell
    moved[0, 0] = -1e-17
    atoms[0, 0] = 0.0
    np.testing.assert_allclose(
        radial_distribution(moved, cell, 8.0, 8)[1], radial_distribution(atoms, cell, 8.0, 8)[1], rtol=1e-12
    )


@pytest.mark.parametrize("periodic_z", [True, False])
def test_an_ideal_gas_is_flat(periodic_z):
    rng = np.random.default_rng(1)
    cell = np.array([40.0, 40.0, 60.0])
    atoms = rng.uniform(0, 1, (9600, 3)) * cell
    r, g = radial_distribution(atoms, cell, 10.0, 20, periodic_z)
    centres = 9600 if periodic_z else 9600 * 40 / 60
    # At most every pair is counted twice, so its count, Poisson distributed, has at most twice its variance.
    expected = centres * 0.1 * 4 / 3 * np.pi * np.diff(np.linspace(0, 10, 21) ** 3)
    # The density of a film is itself counted, from its centres.
    z = (g - 1) / np.sqrt(2 / expected + (0 if periodic_z else 1 / centres))
    assert np.abs(z).max() < 4
    assert r[0] == 0.25 and r[-1] == 9.75


def test_a_film_agrees_with_the_bulk():
    a = 3.037
    atoms, cell = lattice([[0, 0, 0]], a, (6, 6, 14))
    bulk = radial_distribution(atoms, cell, R_MAX, BINS)[1]
    # The slab of centres holds whole planes, so its density may differ from the crystal's by a known factor.
    film = radial_distribution(atoms, cell, R_MAX, BINS, periodic_z=False)[1]
    thickness = 13 * a - 2 * R_MAX
    planes = len([k for k in range(14) if R_MAX < k * a < 13 * a - R_MAX])
    np.testing.assert_allclose(film * planes * a / thickness, bulk, rtol=1e-9)


def test_the_faces_of_a_film_do_not_count():
    rng = np.random.default_rng(2)
    cell = np.array([40.0, 40.0, 0.0])
    film = rng.uniform(0, 1, (6400, 3)) * [40, 40, 40]
    raised = film + np.array([0, 0, 1000])
    r, g = radial_distribution(film, cell, 8.0, 16, periodic_z=False)
    np.testing.assert_allclose(radial_distribution(raised, cell, 8.0, 16, periodic_z=False)[1], g, rtol=1e-9)
    assert abs(np.average(g, weights=r**2) - 1) < 0.02


def test_what_does_not_fit_is_refused():
    atoms, cell = lattice([[0, 0, 0]], 3.0, (4, 4, 4))
    with pytest.raises(BadInputError, match=r"r_max 6.1 Å exceeds half the shortest periodic length 12 Å"):
        radial_distribution(atoms, cell, 6.1, 10)
    with pytest.raises(BadInputError, match="a film 9 Å thick has no atom that far from both faces"):
        radial_distribution(atoms, cell, 5.0, 10, periodic_z=False)
    for periodic_z in (True, False):
        with pytest.raises(BadInputError, match="there are no atoms|0 Å thick"):
            radial_distribution(np.empty((0, 3)), cell, 5.0, 10, periodic_z)
