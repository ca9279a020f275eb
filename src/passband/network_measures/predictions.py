"""Distances between what a network predicts of the same specimens under two conditions, as distributions of each pixel's class.

No labels are needed, but the same specimens under both conditions. The mean over pixels, then over images.
"""

import torch
from torch.nn import functional

from passband.network_measures.network_on_images import NetworkOnImages


def prediction_kl(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Kullback–Leibler divergence of the predictions away from those at home [nat]."""
    a, b = home.logits.double(), away.logits.double()
    # ln p and ln (1 − p) of logits; no probability is rounded to 0 or 1.
    p, q = torch.sigmoid(a), torch.sigmoid(-a)
    ratio = p * (functional.logsigmoid(a) - functional.logsigmoid(b))
    ratio += q * (functional.logsigmoid(-a) - functional.logsigmoid(-b))
    return float(ratio.mean())


def prediction_fisher_rao(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Fisher–Rao distance [rad] of the predictions at home and away: 2 |arcsin √p − arcsin √p′|."""
    first, second = (torch.asin(torch.sigmoid(state.logits.double()).sqrt()) for state in (home, away))
    return float((2 * (first - second).abs()).mean())
