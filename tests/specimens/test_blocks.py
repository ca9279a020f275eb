"""The shipped amorphous blocks against what diffraction says of the materials."""

from importlib.resources import files
from io import BytesIO
from typing import NamedTuple

import numpy as np
import pytest
from ase.data import atomic_masses, atomic_numbers
from scipy.constants import atomic_mass
from scipy.spatial import cKDTree

from passband.specimens.radial_distribution import radial_distribution

BLOCKS = files("passband.specimens").joinpath("blocks")
CARBON = ["carbon_1.8", "carbon_2.0", "carbon_2.2"]


class Compound(NamedTuple):
    name: str
    formula: dict[str, int]
    peaks: dict[tuple[str, str], tuple[float, float]]
    cutoff: float
    coordination: dict[str, tuple[int, float]]
    nearest: float


COMPOUNDS = [
    # X-ray: Si-O 1.62, O-O 2.65, Si-Si 3.12 (Mozzi & Warren, J. Appl. Cryst. 2 (1969) 164); electrons, thermal oxide films:
    # 1.62, 2.60, 3.1 (Nagasima, Jpn. J. Appl. Phys. 9 (1970) 879).
    Compound(
        "silica_2.2",
        {"Si": 1, "O": 2},
        {("Si", "O"): (1.59, 1.64), ("O", "O"): (2.58, 2.67), ("Si", "Si"): (3.03, 3.15)},
        2.2,
        {"Si": (4, 0.95), "O": (2, 0.95)},
        1.4,
    ),
    # Neutrons: Si-N 1.729, N-N 2.83, Si-Si 3.01, 3.7 neighbours of Si and 2.8 of N (Misawa et al., J. Non-Cryst. Solids 34
    # (1979) 313); X-ray: Si-N 1.75 (Aiyama et al., J. Non-Cryst. Solids 33 (1979) 131).
    Compound(
        "silicon_nitride_3.0",
        {"Si": 3, "N": 4},
        {("Si", "N"): (1.71, 1.76), ("N", "N"): (2.72, 2.88), ("Si", "Si"): (2.90, 3.06)},
        2.2,
        {"Si": (4, 0.8), "N": (3, 0.8)},
        1.55,
    ),
]


def load(name):
    with np.load(BytesIO(BLOCKS.joinpath(f"{name}.npz").read_bytes()), allow_pickle=False) as arrays:
        return dict(arrays)


def pairs(block, cutoff):
    """Distances and atoms of all pairs up to a cutoff."""
    edge = float(block["edge_angstrom"])
    positions = block["fractions"] / 65536 * edge
    found = cKDTree(positions, boxsize=edge).query_pairs(cutoff, output_type="ndarray")
    apart = positions[found[:, 0]] - positions[found[:, 1]]
    return np.linalg.norm(apart - edge * np.round(apart / edge), axis=1), found


def peak(distances, low, high, width):
    """Where the density of distances is highest, from a parabola through the three highest bins."""
    edges = np.arange(low, high, width)
    centres = (edges[1:] + edges[:-1]) / 2
    density = np.histogram(distances, edges)[0] / centres**2
    at = int(np.clip(density.argmax(), 1, len(density) - 2))
    left, top, right = density[at - 1 : at + 2]
    return centres[at] + width / 2 * (left - right) / (left - 2 * top + right)


def shares(found, distances, cutoff, mine, partner, atoms):
    """Share of atoms with 0, 1, 2… partners within the cutoff."""
    bonds = found[distances < cutoff]
    ordered = np.concatenate([bonds, bonds[:, ::-1]])
    ordered = ordered[mine[ordered[:, 0]] & partner[ordered[:, 1]]]
    return np.bincount(np.bincount(ordered[:, 0], minlength=atoms)[mine], minlength=7) / mine.sum()


@pytest.mark.parametrize(
    ("name", "formula"), [(name, {"C": 1}) for name in CARBON] + [(c.name, c.formula) for c in COMPOUNDS]
)
def test_density_stoichiometry_and_layout(name, formula):
    block = load(name)
    assert block["fractions"].dtype == np.uint16 and block["fractions"].shape == (len(block["numbers"]), 3)
    assert block["numbers"].dtype == np.uint8
    assert block["edge_angstrom"].dtype == np.float64 and block["edge_angstrom"].shape == ()
    units = {e: np.count_nonzero(block["numbers"] == atomic_numbers[e]) / n for e, n in formula.items()}
    assert len(set(units.values())) == 1
    assert sum(n * units[e] for e, n in formula.items()) == len(block["numbers"])
    density = atomic_masses[block["numbers"]].sum() * atomic_mass * 1e3 / (float(block["edge_angstrom"]) * 1e-8) ** 3
    assert density == pytest.approx(float(name.rpartition("_")[2]), rel=0.005)
    assert np.array_equal(np.lexsort(block["fractions"].T), np.arange(len(block["numbers"])))


def test_they_are_small():
    assert sum(len(f.read_bytes()) for f in BLOCKS.iterdir()) < 600e3


@pytest.mark.parametrize("name", CARBON)
def test_carbon_is_as_diffraction_has_it(name):
    block = load(name)
    distances, found = pairs(block, 3.2)
    # Neutrons, sputtered: 1.46 and 2.49 Å (Li & Lannin, Phys. Rev. Lett. 65 (1990) 1905); electrons, evaporated: 1.50 and
    # 2.53 Å (Kakinoki et al., Acta Cryst. 13 (1960) 171).
    assert 1.42 <= peak(distances, 1.2, 1.8, 0.04) <= 1.50
    assert 2.45 <= peak(distances, 2.2, 2.9, 0.08) <= 2.56
    assert distances.min() >= 1.2
    # Potentials that are cut off at 1.8 to 2.1 Å can leave a false peak there, where g(r) is next to zero.
    r, g = radial_distribution(
        block["fractions"] / 65536 * block["edge_angstrom"], np.full(3, block["edge_angstrom"]), 10.0, 200
    )
    between = (r > 1.75) & (r < 2.15)
    assert g[between].mean() < 0.05 and g[between].max() < 0.15
    assert abs(g[r > 8].mean() - 1) < 0.02
    every = np.ones(len(block["numbers"]), dtype=bool)
    two, three, four = shares(found, distances, 1.9, every, every, len(every))[2:5]
    assert three > 0.75 and two < 0.15 and four < 0.2
    assert two + three + four > 0.99


@pytest.mark.parametrize("compound", COMPOUNDS, ids=lambda c: c.name)
def test_compounds_are_as_diffraction_has_them(compound):
    block = load(compound.name)
    distances, found = pairs(block, 4.0)
    assert distances.min() >= compound.nearest
    of = {e: block["numbers"] == atomic_numbers[e] for e in compound.formula}
    first, second = compound.formula
    for (a, b), (low, high) in compound.peaks.items():
        mine = (of[a][found[:, 0]] & of[b][found[:, 1]]) | (of[b][found[:, 0]] & of[a][found[:, 1]])
        width = 0.02 if a != b else 0.08
        assert low <= peak(distances[mine], 1.3, 3.8, width) <= high, (a, b)
        if a == b:
            # No bond between like atoms, but for a few pairs squeezed by one neighbour too many.
            assert np.count_nonzero(distances[mine] < compound.cutoff) < 0.01 * len(block["numbers"])
    for mine, partner in ((first, second), (second, first)):
        number, least = compound.coordination[mine]
        share = shares(found, distances, compound.cutoff, of[mine], of[partner], len(block["numbers"]))
        assert share[number] > least, (mine, share)
