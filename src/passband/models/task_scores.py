"""Scores of a model of another task than segmentation: by its headline, image by image or condition by condition."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from passband.analysis.conformal import with_value_errors
from passband.base.errors import BadInputError
from passband.learning.regression import ImageValue
from passband.micrographs.labels import image_files, read_image
from passband.micrographs.micrograph import Micrograph
from passband.models.card import ModelCard
from passband.models.image_prediction import PREDICTED
from passband.models.label_scores import html_table
from passband.models.segment import on_image, outputs_of
from passband.models.store import Model, require_task

#: Files of true maps, by ending.
_MAPS = (".tif", ".tiff", ".npy")
#: Columns of a table of true values.
_VALUES = ("image", "value")


@dataclass(frozen=True, eq=False, repr=False)
class TaskScores:
    """How well a model of a task does.

    Attributes:
        card: of the model.
        kind: of a row of the table: image or condition.
        counts: a row an image: name, loss and the task's counts; images of one name are scored together.
        notes: in sentences.
    """

    card: ModelCard
    kind: str
    counts: pl.DataFrame
    notes: tuple[str, ...] = ()

    @cached_property
    def table(self) -> pl.DataFrame:
        """A row a name: images, loss, the task's scores by column, and within, the share of true values within the model's interval."""
        task, known = self.card.learnt, self.card.value_interval
        counts, within = self.counts, pl.lit(None, pl.Float64)
        if task.value and known is not None:
            counts = with_value_errors(counts)
            within = (pl.col("error").abs() <= known.half_width_angstrom).mean()
        sums = [pl.col(name).sum() for name in task.counts]
        return (
            counts.group_by(pl.col("name").alias(self.kind), maintain_order=True)
            .agg(pl.len().cast(pl.Int64).alias("images"), pl.col("loss").mean(), *sums, within=within)
            .with_columns(**task.scores({name: pl.col(name) for name in task.counts}))
            .drop([name for name in task.counts if name not in task.scores({n: pl.col(n) for n in task.counts})])
            .select(pl.exclude("within"), "within")
        )

    @cached_property
    def total(self) -> dict[str, float | None]:
        """The scores of all images together, by column of the table."""
        whole = TaskScores(self.card, self.kind, self.counts.with_columns(name=pl.lit("all"))).table
        [row] = whole.drop(self.kind).rows(named=True)
        return {name: None if value is None or not math.isfinite(value) else value for name, value in row.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the scores of all together and of each row, and what the task is judged by."""
        headline = self.card.learnt.headline
        finite = self.table.with_columns(pl.selectors.float().replace([math.nan, math.inf, -math.inf], None))
        return {
            "model": self.card.name,
            "task": self.card.task,
            "headline": {"column": headline.column, "title": headline.title, "unit": headline.unit},
            "total": self.total,
            "under_training_condition": self.card.task_scores,
            f"{self.kind}s": finite.to_dicts(),
            "notes": list(self.notes),
        }

    def _said(self) -> list[str]:
        headline, known = self.card.learnt.headline, self.card.value_interval
        score, count = self.total[headline.column], int(self.counts.height)
        what = "nothing to score" if score is None else headline.text(score)
        where = f"{count} image{'s' * (count != 1)}"
        if self.kind == "condition":
            where += f" under {len(self.table)} condition{'s' * (len(self.table) != 1)}"
        lines = [f"{self.card.name} on {where}: {what}"]
        own = (self.card.task_scores or {}).get(headline.column)
        if own is not None:
            lines.append(f"under its {self.card.home}, in its study: {headline.text(own)}")
        if self.total["within"] is not None and known is not None:
            lines.append(
                f"{self.total['within']:.0%} of the true values lie within the {known.level:.0%} interval of the {self.card.home}"
            )
        return [*lines, *self.notes]

    def _cells(self) -> list[list[str]]:
        headline, known = self.card.learnt.headline, self.card.value_interval
        columns = {self.kind: self.kind, "images": "images", headline.column: str(headline), "loss": "loss"}
        if known is not None:
            columns["within"] = "within the interval"
        return [
            [*columns.values()],
            *([_cell(row[name], small=name == "loss") for name in columns] for row in self.table.iter_rows(named=True)),
        ]

    def __str__(self) -> str:
        """Return the headline of all, and a table with a line a row."""
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
            for row in cells
        ]
        return "\n".join([*self._said(), *(line.rstrip() for line in lines)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        said = "".join(f"<p>{html.escape(line)}</p>" for line in self._said())
        return f"{said}<div class='scroll'>{html_table(self._cells())}</div>"


def _cell(value: Any, *, small: bool) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if small:
        return f"{value:.3g}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def score_targets(
    model: Model,
    micrographs: Sequence[Micrograph],
    targets: Sequence[NDArray[np.float32]],
    *,
    notes: Sequence[str] = (),
    progress: Callable[[float], None] = lambda images: None,
) -> TaskScores:
    """Compare a model's predictions of micrographs with true maps of its quantity, float [h, w] as the images; `progress` gets 1 an image.

    Raises:
        BadInputError: if the model segments, or model and images do not fit.
    """
    require_task(model.card, *PREDICTED)
    task, rows = model.card.learnt, []
    for micrograph, target in zip(micrographs, targets, strict=True):
        outputs = on_image(outputs_of(model.network, model.card, micrograph, lambda done, total: None), micrograph)
        true = target.astype(np.float32)[None]
        truth = task.truth(true, micrograph.pixel_size_angstrom)
        columns = task.score(outputs[None], outputs.new_tensor(true)[:, None], truth)
        rows.append({"name": micrograph.name} | {name: float(values[0]) for name, values in columns.items()})
        progress(1.0)
    return TaskScores(model.card, "image", pl.DataFrame(rows), tuple(notes))


def read_targets(
    card: ModelCard, images: Path, labels: Path, pixel_size_angstrom: float | None = None
) -> tuple[list[Micrograph], list[NDArray[np.float32]], list[str]]:
    """Return the micrographs of a folder that have labels, their true maps, and notes.

    Labels are a folder of maps (TIFF or npy, named as their images, or that and `_TASK`), or, of a task whose prediction is a value of the
    image, a CSV file with the columns image and value.

    Raises:
        BadInputError: with the names, if an image or label cannot be used, or there is no pair.
    """
    if not images.is_dir():
        raise BadInputError("is no folder; give the folder of the images", place=images)
    task, found = card.learnt, image_files(images, masks_too=False)
    whole = isinstance(task, ImageValue)
    if whole != labels.is_file():
        kind = "a CSV file with the columns image and value" if whole else "a folder of maps (TIFF or npy)"
        what = f"is not what a model of {card.task} is scored on"
        raise BadInputError(what, value=labels, remedy=f"give {kind}", place=labels)
    values = _values(labels) if whole else {}
    micrographs, targets, without = [], [], []
    for stem, path in found.items():
        near = [labels / f"{name}{ending}" for name in (stem, f"{stem}_{card.task}") for ending in _MAPS]
        maps = [p for p in near if not whole and p.is_file() and p != path]
        value = values.get(path.name, values.get(stem))
        if (value is None) if whole else not maps:
            # In a folder of both a map is no image.
            if not (stem.endswith(f"_{card.task}") and stem.removesuffix(f"_{card.task}") in found):
                without.append(path.name)
            continue
        micrograph = read_image(path, pixel_size_angstrom)
        shape = micrograph.intensity.shape
        target = np.full(shape, value, np.float32) if whole else _map(maps[0], shape, task.classes)
        micrographs.append(micrograph)
        targets.append(target)
    if not micrographs:
        raise BadInputError("has no label for any image", remedy="name labels as their images", place=labels)
    return micrographs, targets, [f"without a label, left out: {', '.join(without[:4])}"] if without else []


def _values(path: Path) -> dict[str, float]:
    """Return the true values of a CSV file by the image's name."""
    try:
        table = pl.read_csv(path, schema_overrides={"image": pl.String, "value": pl.Float64})
    except (pl.exceptions.PolarsError, OSError) as error:
        what = f"cannot be read: {' '.join(str(error).split())[:200]}"
        raise BadInputError(what, remedy="write the columns image and value", place=path) from None
    if missing := [name for name in _VALUES if name not in table.columns]:
        raise BadInputError(f"has no column {missing[0]}", limit=_VALUES, remedy="add it", place=path)
    if table["value"].null_count() or not table["value"].is_finite().all():
        raise BadInputError("has a value that is no number", remedy="correct it", place=path)
    return dict(table.select(*_VALUES).iter_rows())


def _map(path: Path, shape: tuple[int, ...], classes: tuple[str, ...]) -> NDArray[np.float32]:
    import tifffile

    try:
        values = np.load(path, allow_pickle=False) if path.suffix == ".npy" else tifffile.imread(path)
    except (OSError, ValueError, tifffile.TiffFileError) as error:
        raise BadInputError(f"cannot be read: {str(error)[:200]}", remedy="write it again", place=path) from None
    if values.shape != shape:
        what = f"has the shape {values.shape}, and its image {shape}"
        raise BadInputError(
            what, value=values.shape, limit=shape, remedy="give the map on the image's pixels", place=path
        )
    if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
        raise BadInputError("has values that are no numbers", remedy="write it again", place=path)
    if classes and not np.isin(values, np.arange(len(classes))).all():
        what = f"has other values than the numbers of classes, 0 to {len(classes) - 1} ({', '.join(classes)})"
        raise BadInputError(what, limit=len(classes) - 1, remedy="number the classes so", place=path)
    return values.astype(np.float32)
