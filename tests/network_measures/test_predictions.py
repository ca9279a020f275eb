"""Distances of predictions against sums over pixels and classes."""

import math
from dataclasses import replace

import pytest
import torch

from passband.network_measures.predictions import prediction_dice, prediction_fisher_rao, prediction_kl, prediction_loss
from support.measured_networks import pair


def test_distances_are_means_over_pixels_of_those_of_two_classes():
    home, away = pair()
    kl, angle, count = 0.0, 0.0, home.logits.numel()
    for a, b in zip(home.logits.flatten().tolist(), away.logits.flatten().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-a)), 1 / (1 + math.exp(-b))
        kl += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        angle += 2 * math.acos(min(1.0, math.sqrt(p * q) + math.sqrt((1 - p) * (1 - q))))
    assert prediction_kl(home, away) == pytest.approx(kl / count, rel=1e-6)
    assert prediction_fisher_rao(home, away) == pytest.approx(angle / count, rel=1e-5)
    assert prediction_kl(home, home) == pytest.approx(0, abs=1e-12)


def test_certain_predictions_have_finite_distances():
    home, _ = pair()
    sure, opposite = replace(home), replace(home)
    vars(sure)["logits"], vars(opposite)["logits"] = (torch.full((1, 1, 2, 2), v) for v in (200.0, -200.0))
    assert prediction_kl(sure, opposite) == pytest.approx(200)
    assert prediction_fisher_rao(sure, opposite) == pytest.approx(math.pi)


def test_predictions_at_home_stand_for_labels():
    home, away = pair()
    labelled = replace(away, masks=(home.logits > 0).to(home.masks.dtype))
    assert prediction_loss(home, away) == pytest.approx(labelled.mean_loss)
    first, second = ((state.logits > 0).numpy() for state in (home, away))
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(first, second, strict=True)]
    assert prediction_dice(home, away) == pytest.approx(sum(dice) / len(dice))
    assert prediction_dice(home, home) == 1
