import pytest
import torch

from passband.learning import segmentation_loss
from passband.learning.segmentation import cross_entropy
from passband.network_measures.expected_scores import (
    expected_cross_entropy,
    expected_dice,
    expected_loss,
    expected_soft_dice,
)
from support.logits import calibrated


def test_means_over_masks_that_are_drawn_from_the_probabilities():
    logits, _ = calibrated(3, 64)
    generator = torch.Generator().manual_seed(5)
    called, p = (logits > 0).float(), logits.sigmoid()
    entropy, loss, dice, soft = [], [], [], []
    for _ in range(200):
        masks = (torch.rand(logits.shape, generator=generator) < p).float()
        entropy.append(cross_entropy(logits, masks))
        loss.append(segmentation_loss(logits, masks))
        dice.append(2 * (called * masks).sum((1, 2, 3)) / (called + masks).sum((1, 2, 3)))
        soft.append(2 * (p * masks).sum((1, 2, 3)) / (p + masks).sum((1, 2, 3)))
    drawn = [
        (expected_cross_entropy, entropy),
        (expected_loss, loss),
        (expected_dice, dice),
        (expected_soft_dice, soft),
    ]
    for expected, values in drawn:
        assert expected(logits).tolist() == pytest.approx(torch.stack(values).mean(0).tolist(), abs=0.003)


def test_certain_predictions():
    empty, full = torch.full((1, 1, 8, 8), -80.0), torch.full((1, 1, 8, 8), 80.0)
    certain = torch.cat([empty, full])
    assert expected_loss(certain).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert expected_dice(certain).tolist() == pytest.approx([1, 1])
