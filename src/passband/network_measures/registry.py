"""The registry: every measure of a trained network on images, by name.

A measure of a `network` takes a `NetworkOnImages`; one of a `pair` takes two of the same weights, at home (the condition of its
training) and away (another). A new one is a pure function in a file of this room, and a row of `MEASURES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from passband.network_measures import gradients


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: column of tables; of a network it has _train (at home) and _test (away).
        title: what it is, in a few words.
        symbol: in figures and tables.
        of: network, or pair.
        needs_labels: whether it needs labels away from home; at home they are known.
        source: who proposed it.
        cost: the most expensive thing that it takes of each condition. What is at hand is not computed again.
        compute: the function; a float of a NetworkOnImages, or of two.
    """

    name: str
    title: str
    symbol: str
    of: Literal["network", "pair"]
    needs_labels: bool
    source: str
    cost: Literal["prediction", "gradient", "head", "spectrum"]
    compute: Callable[..., float]


#: Every measure, by name.
MEASURES: dict[str, Measure] = {
    m.name: m
    for m in [
        Measure("gradient_norm", "norm of the gradient", "|g|", "network", True,
                "Zhao, Zhang and Hu, ICML 2022", "gradient", gradients.gradient_norm),
        Measure("sharpness", "rise of the loss by a step of 0.05 along its gradient", "SAM", "network", True,
                "Foret et al., ICLR 2021", "gradient", gradients.sharpness),
        Measure("gradient_alignment", "cosine between gradients", "cos g", "pair", True,
                "Fort et al., arXiv:1901.09491", "gradient", gradients.gradient_alignment),
    ]
}  # fmt: skip
