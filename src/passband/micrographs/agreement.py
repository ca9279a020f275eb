"""How a predicted mask agrees with a true one: area, outlines, particles, and the edge convention of the labels."""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from passband.base.errors import BadInputError, parameter
from passband.micrographs.measure_particles import number_particles

#: Distance within which two outlines agree [Å].
TOLERANCE_ANGSTROM = 2.0
#: Largest edge offset [Å], and the step of its calibration.
MOST_OFFSET_ANGSTROM, _STEP = 10.0, 0.05
Mask = NDArray[np.bool_]
Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True, repr=False)
class Agreement:
    """How a predicted mask agrees with the labels of one image.

    If both masks are empty, Dice, surface Dice and F1 are 1; if one is, they are 0. What needs outlines or particles on both sides is None then.

    Attributes:
        dice: 2 × the common area over the sum of the areas.
        distance_angstrom: mean distance of the outlines, from each to the other, positive where the predicted one lies outside the labels'.
            Particles that overlap none of the other mask are left out: they are missed or invented.
        absolute_distance_angstrom: the mean of the same distances without sign.
        surface_dice: share of both outlines that lies within the tolerance of the other [Nikolov et al., J. Med. Internet Res. 23, e26151 (2021)].
        particles: of the labels, of at least 28 Å².
        found: particles matched by a predicted one with an intersection of more than half the union.
        missed: particles of the labels without such a match.
        invented: predicted particles without such a match.
        instance_f1: 2 found / (2 found + missed + invented).
        diameter_bias_angstrom: mean difference of the equivalent diameters of matched particles, predicted less true; particles cut by the
            edge of the image are left out.
        tolerance_angstrom: of the surface Dice.
        edge_offset_angstrom: by how much the predicted outlines were moved before the comparison, outwards if positive.
    """

    dice: float
    distance_angstrom: float | None
    absolute_distance_angstrom: float | None
    surface_dice: float
    particles: int
    found: int
    missed: int
    invented: int
    instance_f1: float
    diameter_bias_angstrom: float | None
    tolerance_angstrom: float = TOLERANCE_ANGSTROM
    edge_offset_angstrom: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name."""
        return asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Return name and value of each number as texts."""
        return [
            ("Dice", f"{self.dice:.3f}"),
            (f"surface Dice within {self.tolerance_angstrom:g} Å", f"{self.surface_dice:.3f}"),
            ("distance of the outlines, positive outside the labels", signed(self.distance_angstrom)),
            ("absolute distance of the outlines", signed(self.absolute_distance_angstrom, "")),
            (
                "particles",
                f"{self.found} of {self.particles} found, {self.missed} missed, {self.invented} invented; F1 {self.instance_f1:.3f}",
            ),
            ("diameters, predicted less labelled", signed(self.diameter_bias_angstrom)),
            ("edge offset of the labels", signed(self.edge_offset_angstrom)),
        ]

    def __str__(self) -> str:
        return "\n".join(f"{name}: {value}" for name, value in self.lines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(n)}</td><td>{html.escape(v)}</td></tr>" for n, v in self.lines())
        return f"<table>{rows}</table>"


def agreement(
    mask: NDArray[Any],
    truth: NDArray[Any],
    pixel_size_angstrom: float,
    *,
    edge_offset_angstrom: float = 0.0,
    tolerance_angstrom: float = TOLERANCE_ANGSTROM,
) -> Agreement:
    """Compare a predicted mask with the labels of an image, both of shape [h, w].

    Args:
        mask: predicted particles; connected pixels are one.
        truth: labelled particles: bool, or integers that number them (0 is none), so that particles that touch are told apart.
        pixel_size_angstrom: of both [Å].
        edge_offset_angstrom: the labels' outlines relative to the predicted ones, negative if inside: the mask is moved by that first.
        tolerance_angstrom: of the surface Dice [Å].

    Raises:
        BadInputError: if the shapes differ, or the offset is larger than 10 Å.
    """
    if mask.shape != truth.shape:
        what = f"{parameter('masks')} of shape {list(truth.shape)} do not fit a prediction of shape {list(mask.shape)}"
        raise BadInputError(what, value=truth.shape, limit=mask.shape)
    pixel, true = pixel_size_angstrom, truth > 0
    called = moved(mask.astype(bool), edge_offset_angstrom, pixel)
    near, length = 0.0, 0.0
    distances, weights = [], []
    for one, other, sign in ((called, true, -1), (true, called, 1)):
        points, lengths = _outline(one)
        away = sign * pixel * _depth(other, points)
        near += float(lengths[np.abs(away) <= tolerance_angstrom].sum())
        length += float(lengths.sum())
        # A mask of the whole image has no outline.
        kept = _overlaps(one, other, points) & np.isfinite(away)
        distances.append(away[kept])
        weights.append(lengths[kept])
    apart, weight = np.concatenate(distances), np.concatenate(weights)
    has_outlines = weight.sum() > 0
    particles = number_particles(truth, pixel), number_particles(called, pixel)
    counts = [int(p.max(initial=0)) for p in particles]
    matches = matched_particles(*particles)
    found, wanted = len(matches), counts[0] + counts[1]
    return Agreement(
        dice=dice_of(called, true),
        distance_angstrom=float(np.average(apart, weights=weight)) if has_outlines else None,
        absolute_distance_angstrom=float(np.average(np.abs(apart), weights=weight)) if has_outlines else None,
        surface_dice=near / length if length else float(np.array_equal(called, true)),
        particles=counts[0],
        found=found,
        missed=counts[0] - found,
        invented=counts[1] - found,
        instance_f1=2 * found / wanted if wanted else 1.0,
        diameter_bias_angstrom=_diameter_bias(*particles, matches, pixel),
        tolerance_angstrom=tolerance_angstrom,
        edge_offset_angstrom=edge_offset_angstrom,
    )


def outline_counts(mask: Mask, truth: Mask, pixel_size_angstrom: float) -> tuple[float, float]:
    """Return how much of both outlines lies within the tolerance of the other, and their length [pixels]: surface Dice is their ratio."""
    near = length = 0.0
    for one, other in ((mask, truth), (truth, mask)):
        points, lengths = _outline(one)
        away = pixel_size_angstrom * np.abs(_depth(other, points))
        near, length = near + float(lengths[away <= TOLERANCE_ANGSTROM].sum()), length + float(lengths.sum())
    return near, length


def dice_of(mask: Mask, truth: Mask) -> float:
    """Return 2 × the common area over the sum of the areas; 1 if both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def signed_distance(mask: Mask) -> Numbers:
    """Return the distance of each pixel from the outline of a mask [pixels], positive inside; infinite without an outline."""
    return _depth(mask, np.indices(mask.shape, dtype=float).reshape(2, -1).T).reshape(mask.shape)


def moved(mask: Mask, offset_angstrom: float, pixel_size_angstrom: float) -> Mask:
    """Return a mask with its outlines moved outwards, or inwards if negative; BadInputError for more than 10 Å."""
    if not abs(offset_angstrom) <= MOST_OFFSET_ANGSTROM:
        what = f"{parameter('edge_offset_angstrom')} {offset_angstrom:g}: outside −{MOST_OFFSET_ANGSTROM:g} to {MOST_OFFSET_ANGSTROM:g} Å"
        raise BadInputError(what, value=offset_angstrom, limit=(-MOST_OFFSET_ANGSTROM, MOST_OFFSET_ANGSTROM))
    return signed_distance(mask) >= -offset_angstrom / pixel_size_angstrom if offset_angstrom else mask


def calibrate_edge(pairs: Sequence[tuple[NDArray[Any], NDArray[Any], float]]) -> float:
    """Return the edge offset [Å] of the largest mean Dice, of predicted masks, labels and pixel sizes; within ±10 Å.

    Do not evaluate with it on the same images.

    Raises:
        BadInputError: if no image has both predicted and labelled particles.
    """
    offsets = np.arange(-MOST_OFFSET_ANGSTROM, MOST_OFFSET_ANGSTROM + _STEP / 2, _STEP)
    curves = []
    for mask, truth, pixel in pairs:
        true = truth > 0
        if not (mask & true).any():
            continue
        reach = signed_distance(mask.astype(bool)) * pixel
        # Pixels that belong to the mask when it is moved by each offset, and those of them that are labelled.
        called, both = (
            np.searchsorted(np.sort(-values), offsets, side="right") for values in (reach.ravel(), reach[true])
        )
        curves.append(2 * both / (called + true.sum()))
    if not curves:
        raise BadInputError(
            "no labelled particle of these images is found, so that the edge offset cannot be calibrated",
            remedy=f"give {parameter('edge_offset_angstrom')}, or calibrate on other images",
        )
    mean = np.mean(curves, axis=0)
    # Masks of pixels change in steps.
    return round(float(offsets[mean >= mean.max() - 1e-12].mean()), 2)


def signed(value: float | None, plus: str = "+") -> str:
    """Return a length as a text, with a sign; a dash for none."""
    return "–" if value is None else f"{value:{plus}.2f} Å"


def _outline(mask: Mask, parts: int = 1) -> tuple[Numbers, Numbers]:
    """Return the middles [N, 2] and lengths [N] of the pieces of an outline, in pixels, each cut in parts; the edge of the image is none.

    Outlines are those of the smooth mask, at one half.
    """
    # Imported here because it takes a second.
    from skimage.measure import find_contours

    lines = find_contours(_smooth(mask), 0.5)
    if not lines:
        return np.zeros((0, 2)), np.zeros(0)
    starts, steps = (
        np.concatenate([line[:-1] for line in lines]),
        np.concatenate([np.diff(line, axis=0) for line in lines]),
    )
    middles = np.concatenate([starts + steps * (i + 0.5) / parts for i in range(parts)])
    return middles, np.tile(np.hypot(*steps.T) / parts, parts)


def _smooth(mask: Mask) -> NDArray[np.float32]:
    """Return a mask blurred by one pixel: the staircase of its pixels would be nearer by a third of a pixel than the outline that it follows."""
    return ndimage.gaussian_filter(mask.astype(np.float32), 1.0, mode="nearest")


def _depth(mask: Mask, points: Numbers) -> Numbers:
    """Return how deep points [N, 2] lie inside the outline of a mask [pixels], negative outside; infinite without an outline."""
    outline, _ = _outline(mask, 4)
    inside = ndimage.map_coordinates(_smooth(mask), points.T, order=1, mode="nearest") >= 0.5
    away = cKDTree(outline).query(points)[0] if len(outline) else np.full(len(points), np.inf)
    return np.where(inside, away, -away)


def _overlaps(mask: Mask, other: Mask, points: Numbers) -> Mask:
    """Return which points of a mask's outline belong to a region that overlaps the other mask."""
    regions, count = ndimage.label(mask)
    common = np.zeros(count + 1, dtype=bool)
    common[np.unique(regions[other & mask])] = True
    nearest = ndimage.distance_transform_edt(~mask, return_distances=False, return_indices=True)
    rows, columns = np.clip(points.round().astype(int), 0, np.array(mask.shape) - 1).T
    return common[regions[nearest[0][rows, columns], nearest[1][rows, columns]]]


def matched_particles(truth: NDArray[np.int32], called: NDArray[np.int32]) -> list[tuple[int, int]]:
    """Return pairs of numbers of particles whose intersection is more than half their union; each particle has one at most."""
    rows, columns = (int(p.max(initial=0)) + 1 for p in (truth, called))
    pairs = truth.ravel().astype(np.int64) * columns + called.ravel()
    table = np.bincount(pairs, minlength=rows * columns).reshape(rows, columns)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    return [(int(t) + 1, int(c) + 1) for t, c in np.argwhere(2 * table[1:, 1:] > union[1:, 1:])]


def _diameter_bias(
    truth: NDArray[np.int32], called: NDArray[np.int32], matches: list[tuple[int, int]], pixel: float
) -> float | None:
    across = [np.sqrt(np.bincount(p.ravel()) * 4 / np.pi) * pixel for p in (truth, called)]
    cut = [{*p[0].tolist(), *p[-1].tolist(), *p[:, 0].tolist(), *p[:, -1].tolist()} for p in (truth, called)]
    whole = [across[1][c] - across[0][t] for t, c in matches if t not in cut[0] and c not in cut[1]]
    return float(np.mean(whole)) if whole else None
