"""How a predicted mask agrees with a true one: area, outlines, particles, and the edge convention of the labels."""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.learning.outlines import Mask, Numbers, outlines
from passband.learning.particle_scores import TOLERANCE_ANGSTROM, compare, particle_scores, regions_of

#: Largest edge offset [Å], and the step of its calibration.
MOST_OFFSET_ANGSTROM, _STEP = 10.0, 0.05


@dataclass(frozen=True, repr=False)
class Agreement:
    """How a predicted mask agrees with the labels of one image; the tables of studies have the same scores (`learning/particle_scores.py`).

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
    called = moved(mask.astype(bool), edge_offset_angstrom, pixel_size_angstrom)
    ours, theirs = (regions_of(m[None], pixel_size_angstrom) for m in (called, truth))
    sums = {name: values[0] for name, values in compare(ours, theirs, tolerance_angstrom).items()}
    with np.errstate(invalid="ignore"):
        scores: dict[str, Any] = {name: value.item() for name, value in particle_scores(sums).items()}
    # Without outlines, and without particles.
    defaults = {"surface_dice": float(np.array_equal(called, truth > 0)), "instance_f1": 1.0}
    scores |= {name: value for name, value in defaults.items() if np.isnan(scores[name])}
    scores = {name: None if np.isnan(value) else value for name, value in scores.items()}
    return Agreement(
        dice=dice_of(called, truth > 0),
        **scores,
        tolerance_angstrom=tolerance_angstrom,
        edge_offset_angstrom=edge_offset_angstrom,
    )


def dice_of(mask: Mask, truth: Mask) -> float:
    """Return 2 × the common area over the sum of the areas; 1 if both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def signed_distance(mask: Mask) -> Numbers:
    """Return the distance of each pixel from the outline of a mask [pixels], positive inside; infinite without an outline."""
    pixels = np.indices(mask.shape, dtype=float).reshape(2, -1).T
    depth = outlines(np.asarray(mask, dtype=bool)[None]).depth(pixels, np.array([0, len(pixels)]))
    return (
        depth.reshape(mask.shape)
        if np.isfinite(depth).all()
        else np.full(mask.shape, np.inf if mask.all() else -np.inf)
    )


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
