"""Defects of a particle: twins and stacking faults, vacancies, rough surfaces."""

import itertools

import numpy as np
from scipy.spatial import cKDTree

from passband.base.errors import BadInputError
from passband.specimens.crystals import Crystal
from passband.specimens.grains import Grain, Outline, fill

# Plane of twins and stacking faults, and the fault's shift in fractions of the cell: Hirth and Lothe, Theory of
# Dislocations (1982), chapters 10 and 12. {112} of bcc twins but has no stable fault; (001) of wurtzite faults (I2).
_PLANES: dict[str, tuple[tuple[int, int, int], tuple[float, float, float] | None, bool]] = {
    "fcc": ((1, 1, 1), (1 / 6, 1 / 6, -1 / 3), True),
    "diamond": ((1, 1, 1), (1 / 6, 1 / 6, -1 / 3), True),
    "zincblende": ((1, 1, 1), (1 / 6, 1 / 6, -1 / 3), True),
    "bcc": ((1, 1, 2), None, True),
    "wurtzite": ((0, 0, 1), (1 / 3, 2 / 3, 0), False),
}


def check_planar(crystal: Crystal, twins: int, faults: int) -> None:
    """Refuse planar defects that a crystal does not have, by a BadInputError with those that are known."""
    _, shift, can_twin = _PLANES.get(crystal.prototype, (None, None, False))
    for count, name, possible in ((twins, "twins", can_twin), (faults, "stacking_faults", shift is not None)):
        if count and not possible:
            known = [p for p, (_, vector, twin) in _PLANES.items() if (twin if name == "twins" else vector is not None)]
            raise BadInputError(
                f"{name}: known for {', '.join(known)}, and {crystal.name} is {crystal.prototype}; set {name} to [0, 0]"
            )


def add_planar(crystal: Crystal, grain: Grain, twins: int, faults: int, rng: np.random.Generator) -> list[Grain]:
    """Return the lamellae into which twin planes and stacking faults divide a crystal's grain, whose matrix is 1.

    A twin turns what lies above it by 180° about the plane's normal through an atom of the last layer below; a fault
    shifts it. Planes cut where neighbouring layers are closest, so that no vertical bond of zinc blende or wurtzite is
    cut. A facet of a twinned part is the twin of the facet, so that re-entrant edges form.
    """
    if not twins + faults:
        return [grain]
    indices, shift, _ = _PLANES[crystal.prototype]
    signs = rng.choice([-1, 1], size=3)
    order = rng.permutation(3) if crystal.prototype != "wurtzite" else np.arange(3)
    plane = (signs * indices)[order]
    vector = np.zeros(3) if shift is None else (signs * shift)[order]
    if crystal.prototype == "wurtzite":
        vector = np.asarray(shift)
    gradient = np.linalg.inv(crystal.cell) @ plane
    spacing = float(1 / np.linalg.norm(gradient))
    normal = gradient * spacing
    atom, above = _narrowest_gap(crystal, plane)
    # The layer of `atom` in cell m lies at (m + its fraction) spacings; cuts lie `above` it.
    base = float(normal @ grain.shift)
    level = float(crystal.fractions[atom] @ plane)
    lowest, highest = (int((x * grain.reach - base) / spacing - level) for x in (-0.7, 0.7))
    levels = np.sort(
        rng.choice(np.arange(lowest, highest + 1), size=min(twins + faults, highest - lowest + 1), replace=False)
    )
    kinds = rng.permutation(["twin"] * twins + ["fault"] * faults)[: len(levels)]
    along = int(np.flatnonzero(np.abs(plane) == 1)[0])
    matrix, offset = grain.matrix, grain.shift
    grains, lower = [], -np.inf
    for m, kind in zip(levels, kinds, strict=True):
        upper = (m + level + above) * spacing + base
        grains.append(_lamella(grain, matrix, offset, normal, lower, upper))
        cell = np.zeros(3)
        cell[along] = m * plane[along]
        pivot = matrix @ ((crystal.fractions[atom] + cell) @ crystal.cell) + offset
        if kind == "twin":
            half_turn = 2 * np.outer(normal, normal) - np.eye(3)
            matrix, offset = half_turn @ matrix, half_turn @ (offset - pivot) + pivot
        else:
            step = matrix @ (vector @ crystal.cell)
            offset = max(
                (offset + step, offset - step), key=lambda o: _clearance(crystal, grains[-1], matrix, o, normal, upper)
            )
        lower = upper
    grains.append(_lamella(grain, matrix, offset, normal, lower, np.inf))
    return grains


def _narrowest_gap(crystal: Crystal, plane: np.ndarray) -> tuple[int, float]:
    """Return an atom below the narrowest gap between layers, and the gap's middle above it in spacings of the plane."""
    heights = np.round((crystal.fractions @ plane) % 1.0, 6) % 1.0
    layers = np.unique(heights)
    gaps = np.diff(np.append(layers, layers[0] + 1))
    i = int(gaps.argmin())
    return int(np.flatnonzero(heights == layers[i])[0]), float(gaps[i] / 2)


def _lamella(
    grain: Grain, matrix: np.ndarray, shift: np.ndarray, normal: np.ndarray, lower: float, upper: float
) -> Grain:
    walls = Outline(np.array([normal, -normal]), np.array([upper, -lower]))
    return Grain(matrix, shift, grain.outline.mapped(matrix), walls, grain.centre, grain.reach)


def _clearance(
    crystal: Crystal, below: Grain, matrix: np.ndarray, shift: np.ndarray, normal: np.ndarray, cut: float
) -> float:
    """Return the shortest distance across a cut [Å]; the wrong of two opposite shifts puts atoms on top of each other."""
    reach, ball, middle = 12.0, Outline(radius=12.0), normal * cut
    parts = []
    for m, s, towards in ((below.matrix, below.shift, normal), (matrix, shift, -normal)):
        half = Outline(towards[None], np.zeros(1))
        parts.append(fill(crystal, [Grain(m, s - middle, ball, half, np.zeros(3), reach)])[0])
    inner = parts[0][np.linalg.norm(parts[0], axis=1) < reach / 2]
    return float(cKDTree(parts[1]).query(inner)[0].min())


def vacancies(count: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which of `count` atoms stay when a share of them is missing, bool, shape [count]."""
    keep = np.ones(count, dtype=bool)
    keep[rng.choice(count, size=round(share * count), replace=False)] = False
    return keep


def roughen(positions: np.ndarray, bond: float, share: float, rng: np.random.Generator) -> np.ndarray:
    """Return which atoms stay when a share of the surface's atoms has left, the loosest first, bool, shape [N].

    Surface atoms have fewer neighbours than the bulk, closer than a bond [Å].
    """
    keep = np.ones(len(positions), dtype=bool)
    pairs = cKDTree(positions).query_pairs(bond, output_type="ndarray")
    neighbours = np.bincount(pairs.ravel(), minlength=len(positions))
    missing = neighbours.max(initial=0) - neighbours
    surface = int((missing > 0).sum())
    if surface and share:
        leave = rng.choice(len(positions), size=round(share * surface), replace=False, p=missing / missing.sum())
        keep[leave] = False
    return keep


def random_strain(deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return 1 + ε with the six components of ε drawn from a normal distribution, symmetric, shape [3, 3]."""
    strain = np.zeros((3, 3))
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        strain[i, j] = strain[j, i] = deviation * np.clip(rng.standard_normal(), -3, 3)
    return np.eye(3) + strain
