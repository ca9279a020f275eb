"""Ground truth from the atoms: masks, instances, distances, classes, thickness, potential, atomic columns.

Pixel (i, j) of a label of n² pixels lies at (i, j) · field / n, as in images. A label is a function of the place alone and
does not depend on the number of pixels; the potential is that function up to the pixels' Nyquist frequency.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, QhullError, cKDTree

from passband.specimens.scene import Specimen

#: A particle reaches this far beyond the centres of its outermost atoms [Å]: the covalent radius of most metals.
ATOM_RADIUS = 1.4
# Gaps between projected atoms up to this radius are inside a particle [Å]: the channels of wurtzite have 2.4 Å.
_GAP = 3.0
# Standard deviation of the Gaussian that turns atoms into a thickness [Å].
_SMOOTHING = 1.0
# Pixels times edges looked at together.
_CHUNK = 4_000_000

# A grain shows columns if tilt smears none of them by more than this [Å] ...
_SMEAR = 1.0
# ... its columns stand at least this far apart [Å] ...
_APART = 1.2
# ... and its atoms repeat along the axis within this [Å].
_REPEAT = 9.0
_DIRECTIONS = np.array(
    [d for d in itertools.product(range(-2, 3), repeat=3) if math.gcd(*d) == 1 and next(x for x in d if x) > 0]
)


@dataclass(frozen=True)
class Labels:
    """What is true of each pixel, arrays of shape [n, n].

    Attributes:
        mask: whether a particle covers it.
        instances: number of the particle that covers it, 0 for none; of the upper one, towards +z, where two overlap.
        classes: number of the particle's crystal in `Labels.names`, from 1; 0 for none.
        boundary_distance: to the nearest outline of a particle, positive inside [Å].
        thickness: of the particles, as if their atoms' volume were spread over 1 Å [Å].
        film_thickness: of the film, likewise [Å].
        potential: projected electrostatic potential of the atoms at rest [V·Å].
        names: of the crystals, class 1 first.
    """

    mask: np.ndarray
    instances: np.ndarray
    classes: np.ndarray
    boundary_distance: np.ndarray
    thickness: np.ndarray
    film_thickness: np.ndarray
    potential: np.ndarray
    names: tuple[str, ...]


def particle_mask(specimen: Specimen, n: int) -> np.ndarray:
    """Return the mask of all particles on n × n pixels, bool.

    A pixel is particle if it lies inside the outline of a particle's atoms in projection, or outside it by no more than
    1.4 Å, `ATOM_RADIUS`. The outline is their alpha shape of radius 3 Å (Edelsbrunner, Kirkpatrick and Seidel 1983),
    which follows re-entrant edges and closes the gaps between columns.
    """
    mask = np.zeros((n, n), dtype=bool)
    for number in range(1, len(specimen.particles) + 1):
        rows, columns, distance = _signed_distance(specimen, number, n, margin=3.0)
        mask[np.ix_(rows, columns)] |= distance >= 0
    return mask


def particle_instances(specimen: Specimen, n: int) -> np.ndarray:
    """Return `Labels.instances` on n × n pixels, uint16, alone: in a small part of the time of all labels."""
    covers = []
    for number in range(1, len(specimen.particles) + 1):
        rows, columns, distance = _signed_distance(specimen, number, n, margin=3.0)
        cover = np.zeros((n, n), dtype=bool)
        cover[np.ix_(rows, columns)] = distance >= 0
        covers.append((float(specimen.atoms.positions[specimen.particle == number, 2].max()), number, cover))
    return _instances(covers, n)


def make_labels(specimen: Specimen, n: int) -> Labels:
    """Return all labels on n × n pixels."""
    names = tuple(dict.fromkeys(p.crystal for p in specimen.particles))
    distance, covers = np.full((n, n), -np.inf), []
    field = float(specimen.atoms.cell[0, 0])
    for number in range(1, len(specimen.particles) + 1):
        _, _, depth = _signed_distance(specimen, number, n, margin=np.inf)
        distance = np.maximum(distance, depth)
        atoms = specimen.particle == number
        covers.append((float(specimen.atoms.positions[atoms, 2].max()), number, depth >= 0))
    instances = _instances(covers, n)
    class_of = np.array([0] + [1 + names.index(p.crystal) for p in specimen.particles], dtype=np.uint8)
    film = specimen.particle == 0
    film_thickness = np.zeros((n, n))
    if specimen.film is not None and film.any():
        film_thickness = specimen.film_volume_per_atom * _spread(specimen.atoms.positions[film, :2], field, n)
    return Labels(
        distance >= 0,
        instances,
        class_of[instances],
        distance.astype(np.float32),
        particle_thickness(specimen, n).astype(np.float32),
        film_thickness.astype(np.float32),
        projected_potential(specimen, n).astype(np.float32),
        names,
    )


def _instances(covers: list[tuple[float, int, np.ndarray]], n: int) -> np.ndarray:
    """Return the number of the particle at each pixel, of the upper one where two overlap, without splinters.

    A splinter is a piece of less than a quarter of the particle's largest, or a twentieth of its whole outline: what the upper
    particles leave of it at their rim. It goes to the particle with the longest common border.
    """
    result = np.zeros((n, n), dtype=np.uint16)
    for _, number, cover in sorted(covers, key=lambda one: one[0]):
        result[cover] = number
    overlapped = sum((cover.astype(int) for *_, cover in covers), np.zeros((n, n), dtype=int)) > 1
    for _, number, cover in covers:
        if not (cover & overlapped).any():
            continue
        # The field repeats: with the particle in the middle, its outline is not cut.
        shift = [n // 2 - _middle(np.asarray(cover.any(axis=1 - axis))) for axis in (0, 1)]
        shown = np.roll(result, shift, (0, 1))
        pieces, _ = ndimage.label(shown == number)
        sizes = np.bincount(pieces.ravel())[1:]
        least = max(sizes.max(initial=0) / 4, cover.sum() / 20)
        for piece in np.flatnonzero(sizes < least) + 1:
            inside = pieces == piece
            border = shown[ndimage.binary_dilation(inside) & ~inside]
            others = border[(border > 0) & (border != number)]
            if len(others):
                shown[inside] = np.bincount(others).argmax()
        result = np.roll(shown, [-s for s in shift], (0, 1))
    return result


def _middle(occupied: np.ndarray) -> int:
    """Return the middle of the occupied part of a periodic line: opposite the middle of its longest gap."""
    places = np.flatnonzero(occupied)
    gaps = np.diff(np.append(places, places[0] + len(occupied)))
    last = int(gaps.argmax())
    return int((places[last] + gaps[last] / 2 + len(occupied) / 2) % len(occupied))


def particle_thickness(specimen: Specimen, n: int) -> np.ndarray:
    """Return the thickness of the particles on n × n pixels, as if their atoms' volume were spread over 1 Å [Å]."""
    thickness, field = np.zeros((n, n)), float(specimen.atoms.cell[0, 0])
    for number, truth in enumerate(specimen.particles, start=1):
        own = specimen.atoms.positions[specimen.particle == number, :2]
        thickness += truth.volume_per_atom * _spread(own, field, n)
    return thickness


def projected_potential(specimen: Specimen, n: int) -> np.ndarray:
    """Return the projected potential of the independent atoms at rest on n × n pixels [V·Å].

    The Fourier sum of Lobato and Van Dyck's (2014) projected potentials over the frequencies that n pixels hold,
    including the mean over the field.
    """
    # PyTorch takes a second to import.
    import torch

    from passband.specimens.scattering import scattering_factor

    field = float(specimen.atoms.cell[0, 0])
    k = np.fft.fftfreq(n, field / n)
    q2 = torch.from_numpy(np.hypot(k[:, None], k[None]) ** 2)
    spectrum = np.zeros((n, n), dtype=complex)
    for z in np.unique(specimen.atoms.numbers):
        points = specimen.atoms.positions[specimen.atoms.numbers == z, :2]
        waves = _sum_of_products(points, n, lambda x: np.exp(-2j * np.pi * x * k))
        spectrum += scattering_factor(int(z), q2).numpy() * waves
    return np.asarray(np.fft.ifft2(spectrum).real) * n**2 / field**2


def _spread(points: np.ndarray, field: float, n: int) -> np.ndarray:
    """Return the density of points [N, 2] on the pixels, each a Gaussian of unit weight, shape [n, n] [1/Å²]."""

    def gaussian(x: np.ndarray) -> np.ndarray:
        away = np.arange(n) * field / n - x
        away -= field * np.round(away / field)
        return np.asarray(np.exp(-0.5 * (away / _SMOOTHING) ** 2) / (np.sqrt(2 * np.pi) * _SMOOTHING))

    return _sum_of_products(points, n, gaussian)


def _sum_of_products(points: np.ndarray, n: int, factor: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return Σ_j f(x_j) f(y_j) over points [N, 2], shape [n, n], of a function of coordinates [M, 1] with values [M, n]."""
    chunks = np.array_split(points, max(1, len(points) * n // _CHUNK))
    return np.asarray(sum(factor(chunk[:, [0]]).T @ factor(chunk[:, [1]]) for chunk in chunks))


def _signed_distance(
    specimen: Specimen, number: int, n: int, margin: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, columns and there the distance to a particle's boundary, positive inside, up to a margin from its atoms [Å]."""
    field = float(specimen.atoms.cell[0, 0])
    points = specimen.atoms.positions[specimen.particle == number, :2]
    grids = []
    for i in (0, 1):
        first, last = points[:, i].min(), points[:, i].max()
        low, high = first - margin, last + margin
        if high - low >= field:
            # All pixels, each where it lies nearest to the particle.
            index = np.arange(n)
            place = index * field / n
            place = place - field * np.round((place - (first + last) / 2) / field)
        else:
            index = np.arange(int(np.ceil(low * n / field)), int(np.floor(high * n / field)) + 1)
            place = index * field / n
        grids.append((index % n, place))
    (rows, x), (columns, y) = grids
    pixels = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
    return rows, columns, (_depth(points, pixels) + ATOM_RADIUS).reshape(len(x), len(y))


def _depth(points: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the distance of pixels [P, 2] to the outline of points [N, 2], positive inside, shape [P]."""
    try:
        mesh = Delaunay(points)
    except QhullError:
        # Fewer than three columns of atoms.
        return -cKDTree(points).query(pixels)[0]
    corners = points[mesh.simplices]
    a, b, c = (np.linalg.norm(corners[:, i] - corners[:, j], axis=1) for i, j in ((1, 2), (2, 0), (0, 1)))
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * np.abs(u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0])
    filled = a * b * c <= 4 * _GAP * area
    # An edge is outline where a filled triangle has no filled neighbour.
    neighbours = np.where(mesh.neighbors >= 0, filled[mesh.neighbors], False)
    edges = np.concatenate([corners[filled & ~neighbours[:, k]][:, [(k + 1) % 3, (k + 2) % 3]] for k in range(3)])
    # Atoms outside every filled triangle are outline by themselves.
    alone = np.setdiff1d(np.arange(len(points)), mesh.simplices[filled])
    distance = cKDTree(points[alone]).query(pixels)[0] if len(alone) else np.full(len(pixels), np.inf)
    inside = np.zeros(len(pixels), dtype=bool)
    for start, end in edges:
        along, away = end - start, pixels - start
        share = np.clip((away @ along) / (along @ along), 0, 1)
        distance = np.minimum(distance, np.hypot(away[:, 0] - share * along[0], away[:, 1] - share * along[1]))
        # A ray to the right crosses the closed outline an odd number of times from inside.
        if along[1]:
            crosses = (away[:, 1] >= 0) != (away[:, 1] >= along[1])
            inside ^= crosses & (away[:, 0] < along[0] * away[:, 1] / along[1])
    return np.where(inside, distance, -distance)


def zone_axis(lattice: np.ndarray, reach: float) -> tuple[np.ndarray, float] | None:
    """Return the zone axis [u, v, w] along the beam and the tilt from it [rad], or None if columns would smear.

    The lattice is the grain's cell, a vector a row, shape [3, 3] [Å]; reach its extent along the beam [Å].
    """
    vectors = _DIRECTIONS @ lattice
    lengths = np.linalg.norm(vectors, axis=1)
    tilt = np.arccos(np.clip(np.abs(vectors[:, 2]) / lengths, 0, 1))
    near = (lengths <= _REPEAT * np.sqrt(3)) & (np.tan(np.minimum(tilt, 1.5)) * reach <= _SMEAR)
    if not near.any():
        return None
    # The shortest repeat has the most atoms in a column.
    best = min(np.flatnonzero(near), key=lambda i: (round(float(lengths[i]), 6), float(tilt[i])))
    return _DIRECTIONS[best] * int(np.sign(vectors[best, 2]) or 1), float(tilt[best])


def atomic_columns(specimen: Specimen) -> dict[str, np.ndarray]:
    """Return the columns of all grains that lie near a zone axis, as arrays of one entry a column.

    `x`, `y`: mean place of the atoms in projection [Å]; `particle` and `grain` as in the specimen; `atoms`: how many;
    `mean_number`: mean atomic number; `tilt_rad`: of the grain from its zone axis [rad].
    """
    names = ("x", "y", "particle", "grain", "atoms", "mean_number", "tilt_rad")
    rows: list[tuple[float, ...]] = []
    for number, truth in enumerate(specimen.particles, start=1):
        for grain, lattice in enumerate(truth.lattices):
            in_grain = (specimen.particle == number) & (specimen.grain == grain)
            positions = specimen.atoms.positions[in_grain]
            if not len(positions):
                continue
            near = zone_axis(lattice, float(np.ptp(positions[:, 2])))
            if near is None:
                continue
            axis, tilt = near
            along = axis @ lattice
            # Sheared along the axis onto the plane of the image: atoms of a column coincide.
            flat = positions[:, :2] - positions[:, [2]] * along[:2] / along[2]
            label = connected(len(flat), cKDTree(flat).query_pairs(0.3, output_type="ndarray"))
            count = np.bincount(label)
            x, y = (np.bincount(label, positions[:, i]) / count for i in (0, 1))
            middles = np.column_stack([x, y])
            if len(x) > 1 and cKDTree(middles).query(middles, k=2)[0][:, 1].min() < _APART:
                continue
            z = np.bincount(label, specimen.atoms.numbers[in_grain]) / count
            middles %= float(specimen.atoms.cell[0, 0])
            rows += [(*xy, number, grain, atoms, mean, tilt) for *xy, atoms, mean in zip(x, y, count, z, strict=True)]
    table = np.array(rows, dtype=float).reshape(-1, len(names))
    whole = {"particle", "grain", "atoms"}
    return {name: table[:, i].astype(int) if name in whole else table[:, i] for i, name in enumerate(names)}


def connected(count: int, pairs: np.ndarray) -> np.ndarray:
    """Return a label for each of `count` points, the same for points that pairs of their indices [P, 2] link."""
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1])
