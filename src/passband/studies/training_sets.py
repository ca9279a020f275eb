"""Sets of conditions that networks are trained on together, chosen from what a study's conditions are drawn from."""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    TypeAdapter,
    field_validator,
    model_serializer,
    model_validator,
)

from passband.base.frozen_model import FrozenModel
from passband.base.identity import seed_from
from passband.conditions import AnyCondition
from passband.conditions.sets import Base, ConditionDraw, ConditionGrid, ConditionMixture, ConditionSet
from passband.metrics import Q_MAX, information, measure
from passband.specimens import Recipe

_CONDITION_SET: TypeAdapter[ConditionGrid | ConditionDraw | ConditionMixture] = TypeAdapter(ConditionSet)
# Candidates that a guided choice is made from.
_POOL = 128


class TrainingSets(FrozenModel):
    """How training conditions are chosen from the distribution that the study's test conditions are drawn from.

    Attributes:
        conditions: of the one set, chosen elsewhere, instead of sizes; also a base with what to vary or draw, as a study's conditions.
        specimens: that the networks are trained on; None for those that are tested.
        sizes: conditions of a set; there is a set for each size and draw.
        draws: independent sets of each size.
        method: random (independent draws), sobol (covering evenly) or guided (spread over ε with the largest worst-case σ).
        order: mixed (every image under any condition of the set, from the first epoch on) or high_epsilon_first (a curriculum:
            training begins with the condition of highest ε, and those of lower ε join one by one over the first half).
    """

    conditions: tuple[Base, ...] = ()
    specimens: Recipe | None = None
    sizes: tuple[Annotated[int, Field(ge=1, le=1000, strict=True)], ...] = ()
    draws: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1
    method: Literal["random", "sobol", "guided"] = "random"
    order: Literal["mixed", "high_epsilon_first"] = "mixed"

    @field_validator("conditions", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        return _CONDITION_SET.validate_python(given).conditions() if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _given_or_chosen(self) -> "TrainingSets":
        if bool(self.conditions) == bool(self.sizes):
            raise ValueError("give either sizes, to choose sets of, or the conditions of one set")
        if self.conditions and (self.draws > 1 or self.method != "random"):
            raise ValueError("a set whose conditions are given is not drawn; leave draws and method out")
        if len({c.id for c in self.conditions}) < len(self.conditions):
            raise ValueError("conditions lists one twice; keep one of them")
        return self

    @model_serializer(mode="wrap")
    def _either(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out fields that do not apply, so that ids of studies stay and a dump can be read back."""
        content: dict[str, Any] = write(self)
        dropped = {"sizes", "draws", "method"} if self.conditions else {"conditions"}
        if self.specimens is None:
            dropped.add("specimens")
        return {name: value for name, value in content.items() if name not in dropped}


def choose_sets(
    choices: dict[str, TrainingSets], source: ConditionSet, q_max: float
) -> dict[str, tuple[TrainingSets, list[Any]]]:
    """Return the conditions of every set by its name, NAME-SIZE-DRAW, those of a set by falling ε in the band up to q_max [1/Å].

    Sets of one method, size and draw have the same conditions whatever their order. Seeds derive from method, size and draw, so
    that a set does not begin like the test conditions, which are drawn from the same source. A grid is no source of drawn sets.
    """
    pools: dict[int, Pool] = {}
    chosen = {}
    for name, choice in choices.items():
        if choice.conditions:
            chosen[f"{name}-{len(choice.conditions)}-0"] = choice, _by_epsilon(list(choice.conditions), q_max)
        for size, draw in itertools.product(choice.sizes, range(choice.draws)):
            assert not isinstance(source, ConditionGrid)
            if choice.method == "guided":
                if draw not in pools or len(pools[draw].candidates) < size:
                    pools[draw] = Pool(_drawn(source, "sobol", max(_POOL, size), draw), q_max)
                conditions = pools[draw].choose(size)
            else:
                conditions = _by_epsilon(_drawn(source, choice.method, size, draw), q_max)
            chosen[f"{name}-{size}-{draw}"] = choice, conditions
    return chosen


def _by_epsilon(conditions: list[Any], q_max: float) -> list[AnyCondition]:
    epsilon = information(conditions, q_max).numpy()
    return [conditions[i] for i in np.argsort(-epsilon, kind="stable")]


def _drawn(
    source: ConditionDraw | ConditionMixture, method: Literal["random", "sobol"], count: int, draw: int
) -> list[Any]:
    seed = seed_from("training set", source.seed, method, count, draw)
    return source.model_copy(update={"method": method, "count": count, "seed": seed}).conditions()


class Pool:
    """Conditions to choose from, with ε of each and σ between them."""

    def __init__(self, candidates: Sequence[AnyCondition], q_max: float = Q_MAX):
        """Measure the candidates in the band up to q_max [1/Å]."""
        measured = measure(["epsilon", "sigma"], candidates, candidates, q_max)
        self.candidates = list(candidates)
        self.epsilon = measured["epsilon_train"].numpy()
        # σ is not defined for a condition that transfers nothing.
        self.sigma = np.nan_to_num(measured["sigma"].numpy())

    def choose(self, count: int) -> list[Any]:
        """Return `count` candidates, by falling ε.

        The candidates are ordered by ε and divided into `count` equal parts, and one comes from each, which spreads them over ε.
        Each candidate counts with the highest σ(chosen, candidate). The choice maximises the lowest of these values, then their
        mean: greedily first, then by exchanges until none helps.

        There must be as many candidates.
        """
        if not 1 <= count <= len(self.candidates):
            raise ValueError(f"cannot choose {count} of {len(self.candidates)} conditions; give at least as many")
        return [self.candidates[i] for i in choose(self.epsilon, self.sigma, count)]


def choose(epsilon: np.ndarray, sigma: np.ndarray, count: int) -> list[int]:
    """Return the indices of the choice of `Pool.choose`, given ε, shape [B], and σ(train, test), shape [B, B], of the candidates."""
    parts = np.array_split(np.argsort(-epsilon, kind="stable"), count)
    chosen: list[int] = []
    for part in parts:
        chosen.append(_best(part, sigma, chosen))
    # Most choices settle in three sweeps of exchanges.
    for _ in range(10):
        before = list(chosen)
        for i, part in enumerate(parts):
            chosen[i] = _best(part, sigma, chosen[:i] + chosen[i + 1 :])
        if chosen == before:
            break
    return sorted(chosen, key=lambda i: -epsilon[i])


def _best(part: np.ndarray, sigma: np.ndarray, others: list[int]) -> int:
    covered = sigma[others].max(0) if others else np.zeros(len(sigma))
    after = np.maximum(sigma[part], covered)
    # The lowest σ is rounded, so that a negligible gain in it does not outweigh the mean.
    return int(part[np.lexsort((-after.mean(1), -after.min(1).round(3)))[0]])
