"""Score a model on labelled micrographs: how its masks agree with the labels, image by image."""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.base.errors import BadInputError, parameter
from passband.base.identity import seed_from
from passband.learning.particle_scores import TOLERANCE_ANGSTROM
from passband.micrographs.agreement import Agreement, agreement, calibrate_edge, dice_of, signed
from passband.micrographs.labels import LabelledSet
from passband.models.segment import segment
from passband.models.store import Model

#: Coverage of the intervals over images, and how often images are drawn for them.
COVERAGE, _RESAMPLES = 0.95, 2000
# A neighbour's labels fit better by this Dice and reach at least the second: the masks are shifted by a frame.
_SHIFTED, _FITS = 0.05, 0.5
_FEWEST_IN_ORDER = 4
_COUNTS = ("particles", "found", "missed", "invented")
_MEANS = (
    ("dice", "Dice", ".3f"),
    ("surface_dice", "surface Dice", ".3f"),
    ("instance_f1", "F1", ".3f"),
    ("distance_angstrom", "outlines [Å]", "+.2f"),
    ("absolute_distance_angstrom", "absolute [Å]", ".2f"),
    ("diameter_bias_angstrom", "diameters [Å]", "+.2f"),
)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class LabelScores:
    """How a model's masks agree with the labels of images.

    Attributes:
        model: its name.
        names: of the images that were scored.
        images: the agreement of each.
        calibrated_on: images that the edge offset was calibrated on, which are not scored; empty if it was given.
        notes: on the labels, in sentences.
    """

    model: str
    names: tuple[str, ...]
    images: tuple[Agreement, ...]
    calibrated_on: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def edge_offset_angstrom(self) -> float:
        """By how much the model's outlines were moved before the comparison, outwards if positive."""
        return self.images[0].edge_offset_angstrom

    @property
    def table(self) -> pl.DataFrame:
        """One row an image: its name, and the numbers of its `Agreement`."""
        names = pl.DataFrame({"image": self.names})
        return names.hstack(pl.DataFrame([image.to_dict() for image in self.images], infer_schema_length=None))

    @property
    def mean(self) -> dict[str, dict[str, float | None]]:
        """Mean over the images of each number, and the ends of its 95 % interval, from drawing images again with replacement."""
        return {name: mean_interval([getattr(image, name) for image in self.images]) for name, *_ in _MEANS}

    @property
    def total(self) -> dict[str, int]:
        """Particles of all images: labelled, found, missed and invented."""
        return {name: sum(getattr(image, name) for image in self.images) for name in _COUNTS}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: means with intervals, totals, and one row an image."""
        return {
            "model": self.model,
            "mean": self.mean,
            "total": self.total,
            "coverage": COVERAGE,
            "edge_offset_angstrom": self.edge_offset_angstrom,
            "tolerance_angstrom": self.images[0].tolerance_angstrom,
            "calibrated_on": list(self.calibrated_on),
            "notes": list(self.notes),
            "images": self.table.to_dicts(),
        }

    def _cells(self) -> list[list[str]]:
        """Return the cells of the table: a head, a row an image, the mean and its interval."""
        head = ["image", *(title for _, title, _ in _MEANS), *_COUNTS]
        rows = [
            [name, *(_number(getattr(i, key), form) for key, _, form in _MEANS), *(str(getattr(i, c)) for c in _COUNTS)]
            for name, i in zip(self.names, self.images, strict=True)
        ]
        mean, total = self.mean, [str(v) for v in self.total.values()]
        rows.append(["mean", *(_number(mean[key]["mean"], form) for key, _, form in _MEANS), *total])
        ends = [" to ".join(_number(mean[key][end], form) for end in ("low", "high")) for key, _, form in _MEANS]
        return [head, *rows, [f"{COVERAGE:.0%} interval", *ends, *[""] * len(_COUNTS)]]

    def _remarks(self) -> list[str]:
        tolerance, offset = self.images[0].tolerance_angstrom, self.edge_offset_angstrom
        how = "as given" if not self.calibrated_on else f"calibrated on {', '.join(self.calibrated_on)}, not scored"
        edge = (
            f"edge offset of the labels {signed(offset)}, {how}" if offset or self.calibrated_on else "edges as drawn"
        )
        legend = f"surface Dice within {tolerance:g} Å; outlines and diameters: the model's less the labels'"
        return [f"{edge}; {legend}", *self.notes]

    def __str__(self) -> str:
        """Return the table and remarks as lines."""
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        return "\n".join(
            [
                f"{self.model} on {len(self.images)} labelled images",
                *(line.rstrip() for line in lines),
                *self._remarks(),
            ]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        remarks = "".join(f"<p>{html.escape(line)}</p>" for line in self._remarks())
        return f"<div class='scroll'>{html_table(self._cells())}</div>{remarks}"


def score_labels(
    model: Model,
    labelled: LabelledSet,
    *,
    edge_offset_angstrom: float | None = None,
    calibrate_edge_on: int = 0,
    tolerance_angstrom: float = TOLERANCE_ANGSTROM,
    progress: Callable[[float], None] = lambda images: None,
) -> LabelScores:
    """Segment labelled micrographs and compare the masks with the labels.

    Args:
        model: that segments.
        labelled: micrographs with labels.
        edge_offset_angstrom: the labels' outlines relative to the model's, negative if inside [Å].
        calibrate_edge_on: number of images, spread over all, to calibrate that offset on; they are not scored.
        tolerance_angstrom: of the surface Dice [Å].
        progress: called with 1 for each image.

    Raises:
        BadInputError: if an image does not fit the model, labels are shifted by an image, or too few images are left to score.
    """
    count = len(labelled)
    if calibrate_edge_on and edge_offset_angstrom is not None:
        both = f"{parameter('edge_offset_angstrom')} and {parameter('calibrate_edge')}"
        raise BadInputError(f"{both} exclude each other; give one")
    if not 0 <= calibrate_edge_on < count:
        what = f"{parameter('calibrate_edge')} {calibrate_edge_on}: has to leave images to score, of {count}"
        raise BadInputError(what, value=calibrate_edge_on, limit=(0, count - 1))
    masks = []
    for item in labelled:
        masks.append(segment(model, item.micrograph).mask)
        progress(1.0)
    check_order(masks, labelled)
    chosen = calibration_images(count, calibrate_edge_on)
    pixels = [item.micrograph.pixel_size_angstrom for item in labelled]
    offset = edge_offset_angstrom or 0.0
    if chosen:
        offset = calibrate_edge([(masks[i], labelled[i].truth, pixels[i]) for i in chosen])
    scored = [i for i in range(count) if i not in chosen]
    results = [
        agreement(
            masks[i], labelled[i].truth, pixels[i], edge_offset_angstrom=offset, tolerance_angstrom=tolerance_angstrom
        )
        for i in scored
    ]
    return LabelScores(
        model.card.name,
        tuple(labelled[i].name for i in scored),
        tuple(results),
        tuple(labelled[i].name for i in chosen),
        labelled.notes,
    )


def html_table(cells: list[list[str]]) -> str:
    """Return rows of texts, the first of which is the head, as a table in HTML."""
    head, *rows = cells
    titles = "".join(f"<th>{html.escape(c)}</th>" for c in head)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


def calibration_images(count: int, wanted: int) -> list[int]:
    """Return which of so many images to calibrate on, spread evenly over them."""
    return [int((i + 0.5) * count / wanted) for i in range(wanted)]


def check_order(masks: Sequence[Mask], labelled: LabelledSet) -> None:
    """Refuse labels that are shifted by an image: those of a neighbour agree with the prediction, and better than its own.

    Fewer than four images, or images of several sizes, are not checked, nor is a series whose prediction fits no labels.
    """
    truths = [item.truth > 0 for item in labelled]
    if len(masks) < _FEWEST_IN_ORDER or len({mask.shape for mask in masks}) > 1:
        return
    for step in (1, -1):
        here = range(max(-step, 0), len(masks) - max(step, 0))
        own, other = (float(np.mean([dice_of(masks[i], truths[i + s]) for i in here])) for s in (0, step))
        if other > max(own + _SHIFTED, _FITS):
            where = "next" if step > 0 else "previous"
            what = f"masks seem to be shifted by an image: the mask of the {where} image fits better (Dice {other:.2f}, own {own:.2f})"
            remedy = f"compare {labelled[0].name} with its mask and correct the names"
            raise BadInputError(what, value=other, limit=own, remedy=remedy)


def mean_interval(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return the mean of the values that are known, and the ends of its 95 % interval from drawing them again with replacement."""
    known = np.array([v for v in values if v is not None], dtype=float)
    if not len(known):
        return {"mean": None, "low": None, "high": None}
    rng = np.random.default_rng(seed_from("labels"))
    means = known[rng.integers(len(known), size=(_RESAMPLES, len(known)))].mean(1)
    low, high = np.quantile(means, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return {"mean": float(known.mean()), "low": float(low), "high": float(high)}


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"
