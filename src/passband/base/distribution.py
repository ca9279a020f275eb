"""How one value is distributed: uniform, log-uniform, normal, log-normal, or a list of values."""

import math
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from scipy.special import ndtri

from passband.base.frozen_model import FrozenModel

Number = Annotated[float, Field(strict=True)]
_MOST_VALUES = 10_000


def stepped(given: Any) -> Any:
    """Return the list of values that {start, stop, step} stands for, the stop included; other values as they are.

    ValueError if it is empty, has more than 10,000 values, or is made of something else than three numbers.
    """
    if not isinstance(given, dict):
        return given
    if set(given) != {"start", "stop", "step"}:
        raise ValueError(f"{given!r} is neither a list nor {{start: -300, stop: 300, step: 50}}")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < math.inf:
            raise ValueError(f"{name} is {value!r}, which is not a number")
    start, stop, step = (float(given[name]) for name in ("start", "stop", "step"))
    if stop < start or step <= 0:
        remedy = "begin at the lower end, with a step above zero"
        raise ValueError(f"{start:g} to {stop:g} in steps of {step:g} holds no values; {remedy}")
    count = (stop - start) / step + 1 + 1e-9
    if count >= _MOST_VALUES + 1:
        raise ValueError(f"{start:g} to {stop:g} in steps of {step:g} holds more than {_MOST_VALUES} values")
    return [float(f"{start + i * step:.12g}") for i in range(int(count))]


Values = Annotated[list[Number], BeforeValidator(stepped), Field(min_length=1, max_length=_MOST_VALUES)]
Pair = Annotated[list[Number], Field(min_length=2, max_length=2)]

# Bounded draws stay within ±3.09 standard deviations, so that the extremes of an unbounded distribution are known.
_TAIL = 1e-3


class Distribution(FrozenModel):
    """How one value is distributed; exactly one of these is given. A plain number is that value, a pair is uniform.

    Attributes:
        uniform: lowest and highest.
        log_uniform: lowest and highest, both above zero; every factor is equally likely.
        normal: mean and standard deviation.
        log_normal: median, and the standard deviation of the natural logarithm.
        values: each with the same probability.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    uniform: Pair | None = None
    log_uniform: Pair | None = None
    normal: Pair | None = None
    log_normal: Pair | None = None
    values: Values | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, given: Any) -> Any:
        if isinstance(given, (int, float)) and not isinstance(given, bool):
            return {"values": [given]}
        if isinstance(given, (list, tuple)):
            return {"uniform": given}
        if not isinstance(given, (dict, Distribution)):
            raise ValueError(
                f"{given!r} is no distribution; write a number, [lowest, highest], or one such as {{normal: [20, 2]}}"
            )
        return given

    @model_validator(mode="after")
    def _one(self) -> "Distribution":
        given = [name for name in Distribution.model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(Distribution.model_fields)}; got {', '.join(given) or 'none'}")
        [name] = given
        pair = getattr(self, name)
        if name.endswith("uniform") and not pair[0] < pair[1]:
            raise ValueError(f"{name} {pair} is not [lowest, highest]; swap them")
        if name.startswith("log") and pair[0] <= 0:
            raise ValueError(f"{name} {pair} must lie above zero; use {name.removeprefix('log_')}")
        if name.endswith("normal") and pair[1] <= 0:
            raise ValueError(f"{name} {pair} needs a standard deviation above zero; write [mean, deviation]")
        return self

    def at(self, share: np.ndarray) -> np.ndarray:
        """Return the quantiles at shares in (0, 1)."""
        if self.values is not None:
            return np.asarray(self.values)[np.minimum((share * len(self.values)).astype(int), len(self.values) - 1)]
        if self.normal is not None:
            return np.asarray(ndtri(share) * self.normal[1] + self.normal[0])
        if self.log_normal is not None:
            median, deviation = self.log_normal
            return np.asarray(median * np.exp(ndtri(share) * deviation))
        if self.log_uniform is not None:
            low, high = np.log(self.log_uniform)
            return np.asarray(np.exp(low + share * (high - low)))
        assert self.uniform is not None
        return self.uniform[0] + share * (self.uniform[1] - self.uniform[0])

    def bounds(self) -> tuple[float, float]:
        """Return the least and greatest value that `draw` gives."""
        if self.values is not None:
            return min(self.values), max(self.values)
        if self.uniform is not None:
            return self.uniform[0], self.uniform[1]
        low, high = self.at(np.array([_TAIL, 1 - _TAIL]))
        return float(low), float(high)

    def draw(self, rng: np.random.Generator) -> float:
        """Return one value; the outermost 0.1 % of an unbounded distribution are cut off on each side."""
        share = rng.uniform()
        if self.normal is not None or self.log_normal is not None:
            share = _TAIL + share * (1 - 2 * _TAIL)
        return float(self.at(np.array([share]))[0])
