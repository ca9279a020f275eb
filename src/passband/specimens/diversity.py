"""Diversity of a set of specimens, and the distance between two sets."""

import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from passband.base.errors import require
from passband.specimens.scene import Specimen

# Cells of equal area on the sphere: bands of equal height, each divided alike.
_BANDS, _SECTORS = 6, 12
_BINS = _BANDS * _SECTORS


def _dscribe_soap() -> Any:
    """Return dscribe's class of SOAP descriptors, or raise BadInputError if dscribe is not installed."""
    with warnings.catch_warnings():
        # Its imports raise deprecation warnings.
        warnings.simplefilter("ignore")
        return require("diversity", "comparing structures", "dscribe.descriptors").SOAP


def coverage(specimens: list[Specimen]) -> dict[str, Any]:
    """Return what a set of specimens covers; an empty group is None.

    `composition`: share of the particles' atoms by element, and the Shannon entropy of the particles' crystals [nat].
    `diameter_angstrom`, `particle_extent_angstrom` (along the beam), `film_thickness_angstrom`: mean, deviation,
    quartiles, range. `orientation`: share of 72 cells of equal area on the sphere that the beam hits in the crystals'
    axes, and the share that as many uniform directions would hit on average, 1 - (1 - 1/72)^n.
    """
    particles = [(s, i + 1, p) for s in specimens for i, p in enumerate(s.particles)]
    elements: Counter[str] = Counter()
    for s in specimens:
        elements.update(np.array(s.atoms.get_chemical_symbols())[s.particle > 0].tolist())
    crystals = Counter(p.crystal for _, _, p in particles)
    shares = [n / len(particles) for n in crystals.values()]
    lattices = [p.lattices[0] for _, _, p in particles if len(p.lattices)]
    # In the crystal's axes, a along x and b in the xy plane, its cell is the lower triangle L of lattice · latticeᵀ = L Lᵀ.
    beams = [np.linalg.solve(a.T, [0.0, 0.0, 1.0]) @ np.linalg.cholesky(a @ a.T) for a in lattices]
    extents = [float(np.ptp(s.atoms.positions[s.particle == i, 2])) for s, i, _ in particles]
    return {
        "specimens": len(specimens),
        "particles": len(particles),
        "composition": {
            "elements": {e: n / elements.total() for e, n in sorted(elements.items())} if elements else None,
            "crystals": {c: n / len(particles) for c, n in sorted(crystals.items())} if particles else None,
            "entropy_nat": -sum(x * math.log(x) for x in shares) + 0.0 if particles else None,
        },
        "diameter_angstrom": _summary([p.diameter for _, _, p in particles]),
        "particle_extent_angstrom": _summary(extents),
        "film_thickness_angstrom": _summary([s.film[1] - s.film[0] for s in specimens if s.film is not None]),
        "orientation": _directions(np.array(beams).reshape(-1, 3)),
    }


def _summary(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    lower, middle, upper = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return {
        "mean": float(np.mean(values)),
        "deviation": float(np.std(values)),
        "least": min(values),
        "lower_quartile": lower,
        "median": middle,
        "upper_quartile": upper,
        "greatest": max(values),
    }


def _directions(beams: np.ndarray) -> dict[str, float] | None:
    if not len(beams):
        return None
    unit = beams / np.linalg.norm(beams, axis=1)[:, None]
    band = np.minimum(((unit[:, 2] + 1) / 2 * _BANDS).astype(int), _BANDS - 1)
    sector = (np.arctan2(unit[:, 1], unit[:, 0]) / (2 * np.pi) % 1 * _SECTORS).astype(int) % _SECTORS
    hit = len(np.unique(band * _SECTORS + sector)) / _BINS
    return {"covered": hit, "covered_if_uniform": 1 - (1 - 1 / _BINS) ** len(beams)}


def soap_descriptors(
    specimens: list[Specimen],
    per_specimen: int = 32,
    *,
    rng: np.random.Generator,
    species_blind: bool = False,
    species: list[str] | None = None,
) -> np.ndarray:
    """Return descriptors of atoms' surroundings within 5 Å, unit vectors, shape [N, D].

    SOAP (Bartók, Kondor and Csányi, PRB 87 (2013) 184115) by DScribe, of some atoms of each specimen, drawn at random
    from the particles; `species_blind` takes all atoms as of one kind, to compare geometry alone. `species` are the
    symbols that the descriptors tell apart, those of the set if None: descriptors of two sets can be compared only if
    both were made with the same; gold and silver alone have equal ones otherwise.
    """
    if species is None:
        species = [e for s in specimens for e in s.atoms.symbols[s.particle > 0]] or ["H"]
    numbers = {1} if species_blind else {int(atomic_numbers[e]) for e in species}
    soap = _dscribe_soap()(
        species=sorted(numbers), r_cut=5.0, n_max=4, l_max=4, sigma=0.5, periodic=True, average="off"
    )  # fmt: skip
    parts = []
    for specimen in specimens:
        atoms = specimen.atoms[specimen.particle > 0]
        # The field repeats: imported particles may lie across its edge.
        atoms.pbc = (True, True, False)
        if species_blind:
            atoms.numbers[:] = 1
        if len(atoms):
            centres = rng.choice(len(atoms), size=min(per_specimen, len(atoms)), replace=False)
            parts.append(soap.create(atoms, centers=np.sort(centres).tolist()))
    vectors = np.concatenate(parts) if parts else np.empty((0, soap.get_number_of_features()))
    lengths = np.linalg.norm(vectors, axis=1)
    return vectors / np.where(lengths > 0, lengths, 1)[:, None]


def soap_comparison(
    a: list[Specimen],
    b: list[Specimen],
    *,
    rng: np.random.Generator,
    per_specimen: int = 32,
    species_blind: bool = False,
    permutations: int = 200,
) -> dict[str, float] | None:
    """Return how far two sets of specimens lie apart, or None if a set has fewer than two specimens with particles.

    `distance` is the energy distance (Székely and Rizzo 2013) between specimens' SOAP vectors: 2 E|x - y| - E|x - x'| -
    E|y - y'|, zero for sets of one kind; `p` the share of random divisions (`permutations`) of both sets together that
    come as far apart. Each specimen counts as its mean descriptor, because atoms of one particle are not independent.
    """
    _dscribe_soap()
    both = [s for s in [*a, *b] if (s.particle > 0).any()]
    n = sum((s.particle > 0).any() for s in a)
    if n < 2 or len(both) - n < 2:
        return None
    species = sorted({e for s in both for e in s.atoms[s.particle > 0].get_chemical_symbols()})
    options: dict[str, Any] = {"rng": rng, "species": species, "species_blind": species_blind}
    means = np.array([soap_descriptors([s], per_specimen, **options).mean(axis=0) for s in both])
    apart = np.linalg.norm(means[:, None] - means, axis=2)
    measured = _energy(apart, np.arange(n), np.arange(n, len(both)))
    as_far = 0
    for _ in range(permutations):
        order = rng.permutation(len(both))
        # The same division in another order sums to the same but for its last bits.
        as_far += _energy(apart, order[:n], order[n:]) >= measured - 1e-9
    return {"distance": measured, "p": (as_far + 1) / (permutations + 1)}


def _energy(apart: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Return the unbiased energy distance of two groups, from the distances between all."""

    def within(group: np.ndarray) -> float:
        return float(apart[np.ix_(group, group)].sum() / (len(group) * (len(group) - 1)))

    return float(2 * apart[np.ix_(first, second)].mean() - within(first) - within(second))
