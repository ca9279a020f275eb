"""Calibration of a network's probabilities by one number, on labelled images."""

import math

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional


def temperature(logits: Tensor, masks: Tensor) -> float:
    """Return the T between 1/20 and 20 for which logits / T have the least cross-entropy over all pixels of labelled images.

    Logits and masks (bool) have the shape [N, 1, n, n].

    Source: Guo et al., ICML 2017, 1321.
    """
    truth = masks.to(logits.dtype)

    @torch.no_grad()
    def entropy(log_temperature: float) -> float:
        return float(functional.binary_cross_entropy_with_logits(logits / math.exp(log_temperature), truth))

    return math.exp(minimize_scalar(entropy, bounds=(-math.log(20), math.log(20)), options={"xatol": 1e-3}).x)
