"""Metrics on a band of fixed nodes: fast enough for a verdict, which compares one condition with tens of others.

`metrics.measure` resolves the phases of any conditions, which takes half a second; these nodes resolve those of usual training
conditions. Over the 352 conditions of au-300kv no feature is off by more than 0.1 of its standard deviation, 0.001 in the mean.
"""

import functools
from collections.abc import Sequence

from torch import Tensor

from passband.conditions import Condition
from passband.metrics import measure as measure_on
from passband.metrics.band import Band, band_of
from passband.metrics.weights import WEIGHTS, Weight, carbon_film

_RINGS, _DIRECTIONS = 256, 64


def measure(
    names: Sequence[str], train: Sequence[Condition], test: Sequence[Condition], q_max: float
) -> dict[str, Tensor]:
    """Return metrics by name, as `metrics.measure` does."""
    return measure_on(names, train, test, q_max, band=functools.partial(_band, q_max, train[0].energy_ev))


@functools.lru_cache(maxsize=8)
def _band(q_max: float, energy_ev: float, weight: Weight) -> Band:
    power = carbon_film(energy_ev)
    return band_of(q_max, _RINGS, _DIRECTIONS, WEIGHTS[weight].spectrum(q_max, power), power)
