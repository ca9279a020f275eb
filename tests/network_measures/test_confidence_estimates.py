import math

import numpy as np
import pytest
import torch

from passband.learning import count_pixels
from passband.network_measures.confidence_estimates import (
    average_confidence,
    difference_of_confidences,
    pixel_accuracy,
    thresholded_confidence,
    thresholded_dice,
)
from support.logits import calibrated


def accuracy(logits, masks):
    """The share of right pixels, pixel by pixel."""
    pairs = zip(logits.flatten().tolist(), masks.flatten().tolist(), strict=True)
    return np.mean([(logit > 0) == mask for logit, mask in pairs])


def confidence(logits):
    return np.mean([1 / (1 + math.exp(-abs(logit))) for logit in logits.flatten().tolist()])


def test_slow_references():
    logits, _ = calibrated(2, 16, seed=1)
    home, masks = calibrated(3, 16)
    for i, one in enumerate(logits):
        assert average_confidence(logits)[i] == pytest.approx(confidence(one), abs=1e-6)
        expected = accuracy(home, masks) - confidence(home) + confidence(one)
        assert difference_of_confidences(logits, home, masks)[i] == pytest.approx(expected, abs=1e-6)
        # The threshold is the first of all values that leaves enough below it.
        wrong = sum((logit > 0) != mask for logit, mask in zip(home.flatten(), masks.flatten(), strict=True))
        threshold = next(t for t in home.abs().flatten().sort().values if (home.abs() < t).sum() == wrong)
        assert thresholded_confidence(logits, home, masks)[i] == (one.abs() >= threshold).double().mean()


def test_honest_confidence_is_the_accuracy():
    logits, masks = calibrated(4, 128)
    assert average_confidence(logits).mean() == pytest.approx(accuracy(logits, masks), abs=0.005)


def test_at_home_estimates_are_exact():
    logits, masks = calibrated()
    logits *= 5
    right = accuracy(logits, masks)
    assert pixel_accuracy(logits, masks).mean() == pytest.approx(right)
    assert average_confidence(logits).mean() > right + 0.05
    assert difference_of_confidences(logits, logits, masks).mean() == pytest.approx(right)
    assert thresholded_confidence(logits, logits, masks).mean() == pytest.approx(right)


def test_thresholds_are_right_where_errors_are_below_them():
    """Elsewhere exactly the pixels below the thresholds of home are wrong: more of them, but of the same confidence."""
    home, here = calibrated(scale=3)[0], calibrated(scale=1.5, seed=1)[0]
    masks, true = ((one > 0) != (one.abs() < 0.7) for one in (home, here))
    assert thresholded_confidence(here, home, masks).tolist() == pytest.approx(pixel_accuracy(here, true).tolist())
    # A threshold for each class.
    masks, true = (torch.where(one > 0, one > 1.2, one > -0.4) for one in (home, here))
    counts = count_pixels(here, true.float())
    tp, fp, fn = (np.array(counts[name]) for name in ("tp", "fp", "fn"))
    estimated = thresholded_dice(here, home, masks)
    dice = 2 * tp / (2 * tp + fp + fn)
    # The thresholds are values of home's pixels, which lie between 1.2 and 0.4 and those beyond.
    assert estimated.tolist() == pytest.approx(dice.tolist(), abs=0.003)
    assert np.ptp(dice) > 0.1


def test_images_without_particles():
    home, masks = calibrated()
    empty = torch.full((1, 1, 8, 8), -30.0)
    assert thresholded_dice(empty, home, masks).tolist() == [1.0]
    # Every prediction at home is wrong.
    assert thresholded_dice(home, home, home < 0).tolist() == pytest.approx([0.0] * 3)
    assert thresholded_confidence(home, home, home < 0).tolist() == [0.0] * 3
