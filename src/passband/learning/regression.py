"""Tasks that predict a quantity: of each pixel, such as the thickness, or of the image as a whole, such as the mean diameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from passband.learning.task import Headline

if TYPE_CHECKING:
    from passband.conditions import AnyCondition
    from passband.simulation.multislice import ExitWaveConfig
    from passband.specimens import Recipe, Specimen

# Of errors and true values.
_SUMS = ("values", "errors", "absolute_errors", "squared_errors", "truths", "squared_truths")
# True values vary if their variance is more than this share of their mean square: rounding leaves less.
_VARIES = 1e-12


class _Regression:
    """A quantity in Å; outputs are in units of `scale_angstrom`, so that they are of the order of one.

    The loss is the mean squared error in these units. Scores: mean absolute and root mean square error, bias (positive: too large), and
    R² against the mean of the truth of all scored images, which is the trivial prediction; undefined if all true values are the same.
    """

    name: str
    quantity: str
    headline: Headline
    scale_angstrom: float
    outputs = 1
    classes: tuple[str, ...] = ()
    counts: Mapping[str, type] = {"values": int} | dict.fromkeys(_SUMS[1:], float)

    def _values(self, maps: Tensor) -> Tensor:
        """Return the predicted or true values of outputs or targets [B, 1, n, n], shape [B, K]."""
        return maps.flatten(1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of each image, shape [B]."""
        difference = self._values(outputs) - self._values(targets) / self.scale_angstrom
        return difference.square().mean(1)

    def truth(self, targets: np.ndarray, pixel_size_angstrom: float) -> None:
        """Return nothing: scores follow from the targets alone."""

    def score(self, outputs: Tensor, targets: Tensor, truth: None) -> dict[str, Sequence[float] | np.ndarray]:
        """Return the loss and sums over the values of each image [Å]."""
        predicted, true = self._values(outputs).double() * self.scale_angstrom, self._values(targets).double()
        error = predicted - true
        sums = (error, error.abs(), error.square(), true, true.square())
        columns: dict[str, Sequence[float] | np.ndarray] = {
            "loss": self.loss(outputs, targets).double().cpu().numpy(),
            "values": np.full(len(error), error.shape[1], np.int64),
        }
        return columns | {name: values.sum(1).cpu().numpy() for name, values in zip(_SUMS[1:], sums, strict=True)}

    def scores(self, sums: Mapping[str, Any]) -> dict[str, Any]:
        """Return errors in Å, and R²."""
        count, squared = sums["values"], sums["squared_errors"]
        spread = sums["squared_truths"] - sums["truths"] ** 2 / count
        return {
            "mean_absolute_error_angstrom": sums["absolute_errors"] / count,
            "rms_error_angstrom": (squared / count) ** 0.5,
            "bias_angstrom": sums["errors"] / count,
            "r2": _where(spread > _VARIES * sums["squared_truths"], lambda: 1 - squared / spread),
        }

    def shown(self, outputs: Tensor) -> np.ndarray:
        """Return the predicted quantity at each pixel [Å], float32 [B, n, n]."""
        return (outputs[:, 0].float() * self.scale_angstrom).cpu().numpy()


def _where(holds: Any, value: Callable[[], Any]) -> Any:
    """Return a value of numbers, None unless it holds, or of polars' columns, null unless it holds."""
    if isinstance(holds, bool | np.bool_):
        return value() if holds else None
    import polars as pl

    return pl.when(holds).then(value())


def _mean_absolute_error(title: str, over: str) -> Headline:
    definition = f"is the mean absolute error over {over}"
    return Headline("mean_absolute_error_angstrom", title, "Å", definition=definition, learnt=("r2", 0.0))


class Thickness(_Regression):
    """The thickness of the particles along the beam at each pixel [Å], as if their atoms' volume were spread over 1 Å."""

    name = "thickness"
    quantity = "thickness [Å]"
    value = "mean thickness"
    headline = _mean_absolute_error("Thickness error", "all pixels of the test images")
    scale_angstrom = 20.0

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the thickness on the multislice grid [Å], float32 [n, n]."""
        from passband.specimens.labels import particle_thickness

        return particle_thickness(specimen, config.grid_points(recipe.field_angstrom)).astype(np.float32)


class ImageValue(_Regression):
    """One value of the image, predicted by the mean of the outputs; the target holds it at every pixel."""

    @property
    def value(self) -> str:
        """The quantity without its unit."""
        return self.quantity.partition(" [")[0]

    def _values(self, maps: Tensor) -> Tensor:
        return maps.mean((1, 2, 3))[:, None]

    def shown(self, outputs: Tensor) -> np.ndarray:
        """Return the predicted value at every pixel [Å], float32 [B, n, n]."""
        return super().shown(outputs.mean((2, 3), keepdim=True).expand_as(outputs))

    def of_specimen(self, specimen: Specimen) -> float:
        """Return the true value [Å]."""
        raise NotImplementedError

    def target(self, recipe: Recipe, specimen: Specimen, config: ExitWaveConfig) -> np.ndarray:
        """Return the value at every pixel of the multislice grid, float32 [n, n]."""
        n = config.grid_points(recipe.field_angstrom)
        return np.full((n, n), self.of_specimen(specimen), np.float32)


class ConditionValue(ImageValue):
    """One value of the condition that an image is made under, whatever the specimen; a network's training conditions have to differ in it."""

    def of_condition(self, condition: AnyCondition) -> float:
        """Return the true value [Å]."""
        raise NotImplementedError


class MeanDiameter(ImageValue):
    """The mean diameter of the particles in an image [Å]: of spheres of the volume of their atoms."""

    name = "mean_diameter"
    quantity = "mean diameter [Å]"
    headline = _mean_absolute_error("Mean diameter error", "the test images")
    scale_angstrom = 20.0

    def of_specimen(self, specimen: Specimen) -> float:
        """Return the mean diameter [Å]; 0 without particles."""
        atoms = np.bincount(specimen.particle, minlength=len(specimen.particles) + 1)[1:]
        volumes = [count * p.volume_per_atom for count, p in zip(atoms, specimen.particles, strict=True)]
        return float(np.mean([(6 * v / math.pi) ** (1 / 3) for v in volumes])) if volumes else 0.0


class Defocus(ConditionValue):
    """The defocus that an image is made at [Å]: −C10, positive is underfocus, from the exit plane of the specimen."""

    name = "defocus"
    quantity = "defocus [Å]"
    headline = _mean_absolute_error("Defocus error", "the test images")
    scale_angstrom = 100.0

    def of_condition(self, condition: AnyCondition) -> float:
        """Return the defocus [Å]."""
        return condition.defocus_angstrom
