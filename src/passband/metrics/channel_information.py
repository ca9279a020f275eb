"""Mutual information between a weak phase object and its image, frequency by frequency a Gaussian channel."""

import math

import torch
from torch import Tensor

from passband.metrics.band import View
from passband.metrics.overlap import finish, shared

__all__ = ["finish", "overlap_sums", "sums"]


def sums(view: View) -> tuple[Tensor, ...]:
    """Return Σ ½ log₂(1 + S) [B]; its mean over the band times π q_max² is bits per Å² of the image.

    Source: Shannon, Proc. IRE 37 (1949) 10, the capacity of the Gaussian channel; S = 4 P |T|² dose.
    """
    return (_bits(view).sum(1),)


def overlap_sums(train: View, test: View) -> tuple[Tensor, ...]:
    """Return Σ min of both conditions' bits [B, B′] and the training condition's [B]: σ in bits."""
    a, b = _bits(train), _bits(test)
    return shared(a, b), a.sum(1)


def _bits(view: View) -> Tensor:
    return 0.5 * torch.log1p(view.snr) / math.log(2)
