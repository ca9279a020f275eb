"""What a task is: the target of a specimen, the loss of a prediction, and what is counted on each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from passband.simulation.multislice import ExitWaveConfig
    from passband.specimens import Recipe, Specimen


@dataclass(frozen=True)
class Headline:
    """The score that a task is judged by.

    Attributes:
        column: in tables of scores; one of the names that `Task.scores` returns.
        title: what it is called.
        unit: "" of a share.
        higher_is_better: whether it rises where networks get better.
        definition: how it is made, as the end of a sentence that begins with the title.
        learnt: a column of scores, and the least of it from which a network has learnt anything.
    """

    column: str
    title: str
    unit: str = ""
    higher_is_better: bool = False
    definition: str = ""
    learnt: tuple[str, float] | None = None

    def __str__(self) -> str:
        """Return title and unit, as an axis has them."""
        return f"{self.title} [{self.unit}]" if self.unit else self.title

    def text(self, value: float) -> str:
        """Return a value in words, such as *Dice 0.953* or *a thickness error of 2.100 Å*."""
        if self.higher_is_better:
            return f"{self.title} {value:.3f}"
        return f"a {self.title[0].lower()}{self.title[1:]} of {value:.3f}{f' {self.unit}' if self.unit else ''}"


class Task(Protocol):
    """A kind of prediction; `Segmentation` is the first.

    A network has one output for each pixel, or `outputs` of them. What is predicted of the image as a whole is the mean of its outputs, and the
    target is then the same at every pixel (`ImageValue`). The target is of the specimen, unless it is a value of the condition (`ConditionValue`), which has no `target`.

    Attributes:
        name: in study files.
        quantity: what a prediction shows, with its unit.
        headline: the score that it is judged by.
        value: what the mean of a prediction over an image is, in the headline's unit; "" if it means nothing. Such a task counts `values`
            and `errors`, whose quotient is the error of that mean.
        outputs: of a network, for each pixel.
        classes: names of the classes that targets and `shown` number, from 0; () if they are no classes.
        counts: the columns of `score` besides the loss, int or float; they add up over images.
    """

    name: str
    quantity: str
    headline: Headline
    counts: Mapping[str, type]

    @property
    def value(self) -> str:
        """What the mean of a prediction over an image is."""

    @property
    def outputs(self) -> int:
        """Outputs of a network for each pixel, K below."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the truth of a specimen of a recipe on the multislice grid, bool, float32 or uint8 (classes), shape [n, n]: a function of the place alone."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, shape [B], given outputs [B, K, n, n] and floating targets [B, 1, n, n]."""

    def truth(self, targets: np.ndarray, pixel_size_angstrom: float) -> Any:
        """Return what scoring needs of targets [B, n, n], which is computed once for all networks."""

    def score(self, outputs: Tensor, targets: Tensor, truth: Any) -> dict[str, Sequence[float] | np.ndarray]:
        """Return `loss` and the task's counts of each image, of length B each: columns of the table of counts."""

    def scores(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Return the scores of images by name, from their counts summed over images: numbers of NumPy, or of polars."""

    def shown(self, outputs: Tensor) -> np.ndarray:
        """Return what outputs [B, K, n, n] say in the unit of the target and its type, [B, n, n], for a picture."""
