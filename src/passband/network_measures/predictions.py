"""Distances between what a network predicts of the same specimens under two conditions.

No labels are needed, but the same specimens under both conditions. The mean over pixels, then over images.
"""

import torch
from torch.nn import functional

from passband.network_measures.network_on_images import NetworkOnImages
from passband.network_measures.seed_agreement import dice_between


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


def prediction_loss(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the loss away if the masks predicted at home were the labels."""
    return float(home.loss(away.logits, (home.logits > 0).to(away.logits.dtype)).mean())


def prediction_dice(home: NetworkOnImages, away: NetworkOnImages) -> float:
    """Return the Dice between the masks predicted at home and away."""
    return float(dice_between(home.logits > 0, away.logits > 0).mean())
