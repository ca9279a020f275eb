"""The focus of least contrast: the zero from which some microscopists count the defocus."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from passband.base.errors import BadInputError
from passband.conditions import Condition
from passband.simulation.hrtem import Imager
from passband.simulation.multislice import ExitWaveConfig
from passband.simulation.particle_truth import vacuum_wave
from passband.specimens import Recipe, draw_specimen

# The least contrast is looked for within this of C10 = 0 [Å], then around the best of each step [Å].
_WIDEST, _STEPS = 100.0, (10.0, 1.0, 0.1)


def vacuum_variance(
    recipe: Recipe, condition: Condition, config: ExitWaveConfig, indices: Sequence[int]
) -> Callable[[float], float]:
    """Return the variance of the images of a recipe's particles alone, in vacuum, as a function of C10 [Å].

    It is the mean over some specimens, by their indices, without shot noise; the condition has all but C10.
    """
    specimens = [specimen for specimen in (draw_specimen(recipe, index) for index in indices) if specimen.particles]
    if not specimens:
        raise BadInputError(
            "none of the first specimens has a particle, whose contrast in vacuum could be least; give C10 itself"
        )
    waves = torch.stack([vacuum_wave(specimen, config) for specimen in specimens])

    def variance(c10: float) -> float:
        at = condition.varied({"C10": c10, "dose_per_angstrom2": None})
        return float(Imager(at, recipe.field_angstrom, config).intensity(waves).var((1, 2)).mean())

    return variance


def least_contrast(recipe: Recipe, condition: Condition, config: ExitWaveConfig, indices: Sequence[int]) -> float:
    """Return the C10 at which the images of a recipe's particles alone, in vacuum, have the least variance [Å].

    C10 is found to 10 Å, then 1 Å, then 0.1 Å, within 100 Å of the exit plane; it is −d for a thin object d before that plane.
    """
    return least(vacuum_variance(recipe, condition, config, indices))


def least(value: Callable[[float], float]) -> float:
    """Return the C10 at which a function of it is least: to 10 Å, then 1 Å, then 0.1 Å, within 100 Å of zero."""
    best, reach = 0.0, _WIDEST
    for step in _STEPS:
        near = np.round(np.arange(best - reach, best + reach + step / 2, step), 1).tolist()
        best, reach = min(near, key=value), step
    return best
