"""Dose-aware measures from the spectral signal-to-noise ratio of a weak phase object under shot noise."""

from torch import Tensor

from passband.metrics.band import View
from passband.metrics.overlap import finish, shared

__all__ = ["finish", "gain_sums", "image_finish", "image_sums", "overlap_sums"]


def gain_sums(view: View) -> tuple[Tensor, ...]:
    """Return Σ w S/(1 + S) [B]: the mean gain of the Wiener filter, in [0, 1], ε with noise; S = 4 P |T|² dose.

    Source: Unser, Trus and Steven, Ultramicroscopy 23 (1987) 39, for the spectral signal-to-noise ratio.
    """
    return ((view.snr / (1 + view.snr) * view.band.weight).sum(1),)


def image_sums(view: View) -> tuple[Tensor, ...]:
    """Return Σ w S [B] and Σ w: the power of the image's signal over that of its noise."""
    return (view.snr * view.band.weight).sum(1), view.band.weight.sum()


def image_finish(power: Tensor, total: Tensor) -> Tensor:
    """Return ln ⟨S⟩ over the band: what is left of the dose once the image is normalised to unit variance."""
    return (power / total).clamp_min(1e-12).log()


def overlap_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w min(G, G′) [B, B′] and Σ w G [B], G = S/(1 + S): σ with noise."""
    a, b = (view.snr / (1 + view.snr) * view.band.weight for view in (train, test))
    return shared(a, b), a.sum(1)
