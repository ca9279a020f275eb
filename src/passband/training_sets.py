"""Sets of conditions that networks are trained on together, chosen from what a study's conditions are drawn from."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from passband.conditions import ImagingCondition
from passband.distributions import ConditionDraw, ConditionMixture
from passband.seeds import seed_from
from passband.shift import information
from passband.shift.guided import Pool

Size = Annotated[int, Field(ge=1, le=1000, strict=True)]
# Candidates that a guided choice is made from.
_POOL = 128


class TrainingSets(BaseModel):
    """How training conditions are chosen from the distribution that the study's test conditions are drawn from.

    Attributes:
        sizes: conditions of a set; there is a set for each size and draw.
        draws: independent sets of each size.
        method: random (independent draws), sobol (covering evenly) or guided (spread over ε with the largest worst-case σ).
        order: mixed (every image under any condition of the set, from the first epoch on) or high_epsilon_first (a curriculum:
            training begins with the condition of highest ε, and those of lower ε join one by one over the first half).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sizes: Annotated[tuple[Size, ...], Field(min_length=1)]
    draws: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1
    method: Literal["random", "sobol", "guided"] = "random"
    order: Literal["mixed", "high_epsilon_first"] = "mixed"


def choose_sets(
    plans: dict[str, TrainingSets], source: ConditionDraw | ConditionMixture, q_max: float
) -> dict[str, tuple[TrainingSets, list[ImagingCondition]]]:
    """Return the conditions of every set by its name, NAME-SIZE-DRAW, those of a set by falling ε.

    Sets of one method, size and draw hold the same conditions whatever their order. The draws have seeds of their own, so
    that a set does not begin as the test conditions do.

    Args:
        plans: by name.
        source: what may be met.
        q_max: band of ε and σ [1/Å].
    """
    pools: dict[int, Pool] = {}
    chosen = {}
    for name, plan in plans.items():
        for size in plan.sizes:
            for draw in range(plan.draws):
                if plan.method == "guided":
                    if draw not in pools or len(pools[draw].candidates) < size:
                        pools[draw] = Pool(_drawn(source, "sobol", max(_POOL, size), draw), q_max)
                    found = pools[draw].choose(size)
                else:
                    drawn = _drawn(source, plan.method, size, draw)
                    epsilon = information(drawn, q_max).numpy()
                    found = [drawn[i] for i in np.argsort(-epsilon, kind="stable")]
                chosen[f"{name}-{size}-{draw}"] = plan, found
    return chosen


def _drawn(
    source: ConditionDraw | ConditionMixture, method: Literal["random", "sobol"], count: int, draw: int
) -> list[ImagingCondition]:
    seed = seed_from("training set", source.seed, method, count, draw)
    return source.model_copy(update={"method": method, "count": count, "seed": seed}).conditions()
