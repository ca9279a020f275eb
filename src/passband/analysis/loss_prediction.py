"""The loss of a network that is yet to be trained, predicted from its conditions and specimens by the laws that come with passband."""

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from passband.analysis.loss_law import LossLaw
from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.metrics.texture import Scattering, Texture, film_excess, set_texture, texture
from passband.simulation import hrtem
from passband.simulation.multislice import ExitWaveConfig
from passband.specimens import Recipe

# Pixels of all studies that the laws were fitted to [Å]; texture does not know how much noise lies beyond its last ring.
_PIXEL = 0.4
# As most studies that the laws were fitted to.
_WAVES = ExitWaveConfig(phonon_configurations=1)


class Interval(NamedTuple):
    """A predicted number with its 90 % interval."""

    predicted: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.predicted:.3g} [{self.low:.3g}, {self.high:.3g}]"


@dataclass(frozen=True)
class LossPrediction:
    """The loss of a network (cross-entropy + 1 − Dice) trained under some conditions and tested under others, before it is trained.

    Attributes:
        loss: of the network under the test.
        relative_loss: the same over the loss of a network that is trained under the test conditions.
        known: whether training and test look like some that the laws were fitted to; if not, they are an extrapolation.
        film_excess: largest growth of the film's share of the power in a ring, as a factor; what makes networks call film particle.
    """

    loss: Interval
    relative_loss: Interval
    known: bool
    film_excess: float

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by name; those with an interval as predicted, low and high."""
        intervals = {"loss": self.loss._asdict(), "relative_loss": self.relative_loss._asdict()}
        return {**intervals, "known": self.known, "film_excess": self.film_excess}

    def __str__(self) -> str:
        lines = [
            f"predicted loss         {self.loss}   of a network trained there; 90 % interval",
            f"relative loss          {self.relative_loss}   over that of a network trained under the test condition",
            f"film excess            {self.film_excess:.3g}   largest growth of the film's share of the power in a ring of frequencies",
        ]
        if not self.known:
            lines.append("Texture unlike any that the prediction was fitted to: an extrapolation.")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"


def predict_loss(
    train: Sequence[Condition],
    test: Sequence[Condition],
    recipe: Recipe,
    test_recipe: Recipe | None = None,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> LossPrediction:
    """Return the loss of networks trained on specimens of a recipe under some conditions and tested under others.

    Several conditions count by their mean power; quadrature counts as its envelopes. `progress` hears of specimens as they are simulated.

    Raises:
        BadInputError: if pixel sizes differ, a condition does not fit its recipe, or there is no film or no particle to tell apart.
    """
    if not train or not test:
        raise BadInputError("a loss is predicted for one condition or more in training and in the test; none is given")
    for side, conditions in (("training", train), ("test", test)):
        if len(energies := {c.energy_ev for c in conditions}) > 1:
            shown = " and ".join(f"{energy:g}" for energy in sorted(energies))
            raise BadInputError(f"the {side} has electrons of {shown} eV; predict the loss for one energy at a time")
    if len(sizes := {c.pixel_size_angstrom for c in (*train, *test)}) > 1:
        shown = " and ".join(f"{size:g}" for size in sorted(sizes))
        raise BadInputError(f"pixels of {shown} Å cannot be compared; rescale the images to one pixel size first")
    for conditions, specimens in ((train, recipe), (test, test_recipe or recipe)):
        for condition in conditions:
            hrtem.Imager(condition, specimens.field_angstrom, _WAVES).check()
    own = _scattering(recipe, train[0].energy_ev, progress)
    other = own
    if test_recipe is not None or test[0].energy_ev != train[0].energy_ev:
        other = _scattering(test_recipe or recipe, test[0].energy_ev, progress)
    return _predicted(set_texture([train], own), set_texture([test], other), has_usual_pixels(train))


def worst_losses(sets: Sequence[Sequence[Condition]], tests: Sequence[Condition], recipe: Recipe) -> list[float] | None:
    """Return the largest predicted loss over some tests of networks trained on each set of conditions; None if most are unknown.

    Raises:
        BadInputError: as `predict_loss` does.
    """
    specimens = _scattering(recipe, tests[0].energy_ev, lambda _: None)
    said = law("log_loss").predict(set_texture(sets, specimens), texture(tests, specimens))
    known = has_usual_pixels(tests) and said.known.double().mean() >= 0.5
    return None if not known else said.log_loss.amax(1).exp().tolist()


def has_usual_pixels(conditions: Sequence[Condition]) -> bool:
    """Tell whether all conditions have the pixels that the laws were fitted to."""
    return all(abs(c.pixel_size_angstrom / _PIXEL - 1) < 0.02 for c in conditions)


def _predicted(train: Texture, test: Texture, same_pixels: bool) -> LossPrediction:
    said = (law(kind).predict(train, test) for kind in ("log_loss", "log_excess"))
    loss, relative = ((Interval(*(math.exp(v.item()) for v in one[:3])), bool(one.known.item())) for one in said)
    return LossPrediction(loss[0], relative[0], loss[1] and same_pixels, math.exp(film_excess(train, test).item()))


def _scattering(recipe: Recipe, energy_ev: float, progress: Callable[[int], None]) -> Scattering:
    found = hrtem.family_scattering(recipe, _WAVES.model_copy(update={"energy_ev": energy_ev}))
    progress(hrtem.FAMILY)
    return found


@functools.cache
def law(target: Literal["log_loss", "log_excess"]) -> LossLaw:
    """Return a law that comes with passband: of ln loss, or of ln of the loss over that of networks trained under the test."""
    return LossLaw.load(files("passband.analysis") / f"{target}.json")
