"""Dose-aware measures, from the spectral signal-to-noise ratio S = 4 P |T|² dose of a weak object under shot noise."""

import math

import torch
from torch import Tensor

from passband.metrics.band import View
from passband.metrics.overlap import shared


def gain_sums(view: View) -> tuple[Tensor, ...]:
    """Return Σ w S/(1 + S) [B]: the mean gain of the Wiener filter, in [0, 1], ε with noise.

    Source: Unser, Trus and Steven, Ultramicroscopy 23 (1987) 39, for the spectral signal-to-noise ratio.
    """
    return (_gain(view).sum(1),)


def gain_overlap_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ w min(G, G′) [B, B′] and Σ w G [B], G = S/(1 + S): σ with noise."""
    a, b = _gain(train), _gain(test)
    return shared(a, b), a.sum(1)


def bit_sums(view: View) -> tuple[Tensor, ...]:
    """Return Σ ½ log₂(1 + S) [B]; its mean over the band times π q_max² is bits per Å² of the image.

    Each frequency is a Gaussian channel between object and image. Source: Shannon, Proc. IRE 37 (1949) 10.
    """
    return (_bits(view).sum(1),)


def bit_overlap_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ min of both conditions' bits [B, B′] and the training condition's [B]: σ in bits."""
    a, b = _bits(train), _bits(test)
    return shared(a, b), a.sum(1)


def image_sums(view: View) -> tuple[Tensor, ...]:
    """Return Σ w S [B] and Σ w: the power of the image's signal over that of its noise."""
    return (view.snr * view.band.weight).sum(1), view.band.weight.sum()


def image_finish(power: Tensor, total: Tensor) -> Tensor:
    """Return ln ⟨S⟩ over the band: what is left of the dose once the image is normalised to unit variance."""
    return (power / total).clamp_min(1e-12).log()


def _gain(view: View) -> Tensor:
    return view.snr / (1 + view.snr) * view.band.weight


def _bits(view: View) -> Tensor:
    return 0.5 * torch.log1p(view.snr) / math.log(2)
