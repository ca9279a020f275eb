"""What a fleet of networks takes of a GPU's memory while it trains, from shapes alone."""

import math
from itertools import pairwise

from passband.learning.networks import NetworkConfig
from passband.learning.training_config import TrainingConfig

# Bytes a pixel and output of an image: its copies, masks and logits in single precision, and what the loss keeps of them.
_IMAGE = 60
# Bytes a weight: itself, its gradient, two moments, and copies of bfloat16.
_WEIGHT = 20


def step_bytes(network: NetworkConfig, training: TrainingConfig, pixels: int, number: int = 2) -> int:
    """Return the bytes that one network of a fleet takes at most for a step on images of this side, at so many bytes a number.

    Counted are the features that the backward pass needs and gradients of the largest. A ValueError for families that do not train in groups.
    """
    if not network.trains_in_groups:
        raise ValueError(f"networks of family {network.family} do not train in fleets")
    # Numbers a pixel of each level.
    levels = [width / (network.stem**2 * 4**i) for i, width in enumerate(network.widths)]
    pooled = [level / 4 for level in levels[:-1]]
    # Of each convolution its output and what the rectifier leaves of it, of each step up the sum; where a pooled number came from takes 8 bytes.
    kept = number * (4 * sum(levels) + 3 * sum(levels[:-1])) + (number + 8) * sum(pooled)
    gradients = 6 * number * levels[0]
    weights = sum(9 * wide * (narrow + wide) for narrow, wide in pairwise((network.stem**2, *network.widths)))
    weights += sum(narrow * (9 * narrow + wide) for narrow, wide in pairwise(network.widths))
    return math.ceil(
        training.batch_size * pixels**2 * (kept + gradients + _IMAGE * network.outputs) + _WEIGHT * weights
    )
