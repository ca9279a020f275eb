"""ε: the share of a band of spatial frequencies that reaches the image."""

from torch import Tensor

from passband.metrics.band import View


def sums(view: View, power: int = 1) -> tuple[Tensor, ...]:
    """Return Σ w |T|^p, shape [B]; divided by the number of nodes it is ε(χ) = ∫_B w |T|^p d²q / ∫_B w d²q in [0, 1].

    Source: the relative information transferred of arXiv:2512.09067, in the form |T|^p.
    """
    return ((view.magnitude**power * view.band.weight).sum(1),)
