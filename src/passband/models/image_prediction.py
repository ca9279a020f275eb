"""What a model of a task other than segmentation predicts of a micrograph: a map, places, a value with its interval."""

import base64
import html
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from passband.figures import prediction_overlay, style
from passband.learning import TASKS, Task
from passband.learning.columns import Columns, column_places
from passband.learning.regression import ImageValue
from passband.micrographs.micrograph import Micrograph
from passband.models.card import ModelCard
from passband.models.segment import on_image, outputs_of
from passband.models.store import SEGMENTING, Model, require_task

#: Tasks whose models `predict` takes.
PREDICTED = tuple(name for name in TASKS if name not in SEGMENTING)
# Fields beyond this many times that of the training are named in a note.
_LARGER = 1.5


@dataclass(frozen=True, eq=False, repr=False)
class ImagePrediction:
    """What a model predicts of a micrograph.

    Attributes:
        micrograph: shape [h, w].
        card: of the model.
        map: what is predicted at each pixel in the unit of the task's quantity, float32 [h, w], or the number of its class, uint8; None if
            only a value is.
        value: of the image as a whole, in the unit of the task's headline; None if the task has none.
        columns: of a model of atomic columns, a row each: x_angstrom, y_angstrom from the centre of the upper left pixel, x to the right,
            and height of the peak (1 is a column); else None.
        notes: on the prediction, in sentences.
    """

    micrograph: Micrograph
    card: ModelCard
    map: NDArray[np.float32] | NDArray[np.uint8] | None
    value: float | None
    columns: pl.DataFrame | None
    notes: tuple[str, ...] = ()

    @cached_property
    def task(self) -> Task:
        """The model's task."""
        return self.card.learnt

    @property
    def interval(self) -> tuple[float, float] | None:
        """The ends of the value's interval, which holds for images under the training condition; None if the model has none."""
        known = self.card.value_interval
        if self.value is None or known is None:
            return None
        return self.value - known.half_width_angstrom, self.value + known.half_width_angstrom

    @property
    def areas(self) -> dict[str, float]:
        """The area of each class by its name, in the order of the map's numbers [nm²]; empty if the task has none."""
        classes = self.task.classes
        if self.map is None or not classes:
            return {}
        pixels = np.bincount(self.map.astype(np.intp).ravel(), minlength=len(classes))
        in_nm2 = (self.micrograph.pixel_size_angstrom / 10) ** 2
        return {name: float(count) * in_nm2 for name, count in zip(classes, pixels, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the value with its unit and interval, the range of the map or its classes, the number of columns, notes."""
        known, unit = self.card.value_interval, self.task.headline.unit
        answer: dict[str, Any] = {
            "image": self.micrograph.name,
            "found": list(self.micrograph.notes),
            "task": self.card.task,
            "pixel_size_angstrom": self.micrograph.pixel_size_angstrom,
        }
        if self.value is not None:
            low, high = self.interval or (None, None)
            answer |= {"quantity": self.task.value, "value": self.value, "unit": unit, "low": low, "high": high}
            answer["interval"] = None if known is None else known.model_dump()
        if areas := self.areas:
            named = [{"number": i, "name": name, "area_nm2": area} for i, (name, area) in enumerate(areas.items())]
            answer["map"] = {"quantity": self.task.quantity, "classes": named}
        elif self.map is not None:
            low, high = (float(v) for v in np.percentile(self.map, [1, 99]))
            answer["map"] = {"quantity": self.task.quantity, "percentile_1": low, "percentile_99": high}
        if self.columns is not None:
            answer["columns"] = len(self.columns)
        return answer | {"notes": list(self.notes)}

    @property
    def headline(self) -> str:
        """The prediction in a line."""
        parts = []
        if self.value is not None:
            unit, known = self.task.headline.unit, self.card.value_interval
            width = "" if known is None else f" ± {known.half_width_angstrom:.2f}"
            parts.append(f"{self.task.value} {self.value:.2f}{width} {unit}")
        if self.columns is not None:
            parts.append(f"{len(self.columns)} atomic columns")
        # Class 0 is the background.
        parts += [f"{name} {area:.1f} nm²" for name, area in list(self.areas.items())[1:]]
        return ", ".join(parts) or f"map of the {self.task.quantity}"

    def __str__(self) -> str:
        """Return the headline and the notes as lines."""
        return "\n".join([self.headline, *self.notes])

    __repr__ = __str__

    def overlay(self, made: Figure) -> None:
        """Draw the map or the columns over the micrograph, if there are any, into an empty figure."""
        grey, _ = self.micrograph.grey()
        extent = [side * self.micrograph.pixel_size_angstrom for side in self.micrograph.intensity.shape]
        prediction_overlay.draw(
            made, grey, (extent[0], extent[1]), self.map, self.task.quantity, self.columns, self.task.classes
        )

    def _repr_html_(self) -> str:
        content = BytesIO()
        with style.figure(*prediction_overlay.SIZE) as made:
            self.overlay(made)
            made.savefig(content, format="png")
        data = base64.b64encode(content.getvalue()).decode("ascii")
        lines = "".join(f"<p>{html.escape(line)}</p>" for line in (self.headline, *self.notes))
        return f'<img alt="{html.escape(self.headline)}" width="512" src="data:image/png;base64,{data}">{lines}'


def predict_image(
    model: Model, micrograph: Micrograph, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> ImagePrediction:
    """Return what a model predicts of a micrograph; `progress` is called with the number of tiles done and their total.

    Tiles are normalised and blended as in `segment.segment`. The value of an image is the mean over it.

    Raises:
        BadInputError: if the model segments, or model and image do not fit.
    """
    card = model.card
    require_task(card, *PREDICTED)
    task, outputs = card.learnt, outputs_of(model.network, card, micrograph, progress)
    shown = task.shown(outputs[None])[0]
    whole = isinstance(task, ImageValue)
    fine = None if whole else task.shown(on_image(outputs, micrograph)[None])[0]
    columns = None
    if isinstance(task, Columns):
        assert fine is not None
        columns = _columns(shown, card.pixel_size_angstrom, micrograph)
    value = float(shown.mean()) if task.value else None
    return ImagePrediction(micrograph, card, fine, value, columns, tuple(_notes(card, task, micrograph)))


def _columns(shown: NDArray[np.float32], pixel: float, micrograph: Micrograph) -> pl.DataFrame:
    """Return the columns in a map on the network's pixels, counted from the centre of the micrograph's upper left pixel."""
    places = column_places(shown, pixel) / pixel
    rows, columns = np.clip(np.round(places).astype(int), 0, np.array(shown.shape) - 1).T
    # Both grids cover the same field.
    scale = np.array(micrograph.intensity.shape) / np.array(shown.shape)
    y, x = (((places + 0.5) * scale - 0.5) * micrograph.pixel_size_angstrom).T
    return pl.DataFrame({"x_angstrom": x, "y_angstrom": y, "height": shown[rows, columns]})


def _notes(card: ModelCard, task: Task, micrograph: Micrograph) -> list[str]:
    """Return what has to be known of a prediction, in sentences."""
    notes = []
    known = card.value_interval
    if task.value and known is None:
        notes.append("no interval: the study had too few test images to calibrate one (9 are needed)")
    elif task.value and known is not None:
        text = f"the {known.level:.0%} interval is calibrated on {known.images} simulated images of the {card.home}, and holds for such images only"
        if known.coverage_elsewhere is not None and known.least_coverage_elsewhere is not None:
            text += f"; under {known.conditions_elsewhere} other conditions it contained {known.coverage_elsewhere:.0%} of the true values, and {known.least_coverage_elsewhere:.0%} under the worst"
        notes.append(text)
    field = card.field_pixels * card.pixel_size_angstrom
    shown = [side * micrograph.pixel_size_angstrom for side in micrograph.intensity.shape]
    if task.value and max(shown) > _LARGER * field:
        notes.append(
            f"the image shows {shown[1]:.0f} × {shown[0]:.0f} Å, and the model was trained on fields of {field:.0f} Å: the value is the mean over such fields, the interval that of one"
        )
    return notes
