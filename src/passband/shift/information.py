"""ε: the share of a band of spatial frequencies that reaches the image."""

from torch import Tensor


def information(transfer: Tensor) -> Tensor:
    """Return ε(χ) = ∫_B |T| d²q / ∫_B d²q in [0, 1], shape [B].

    Args:
        transfer: T of B conditions over equal-area nodes of the band (`frequencies.polar_band`), shape [B, *q].

    Source: the measure of relative information transferred of arXiv:2512.09067, in the form |T|¹ with uniform weight.
    """
    return transfer.abs().flatten(1).mean(1)
