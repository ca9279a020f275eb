import numpy as np
import pytest
import torch
from torch.nn import functional

from passband.network_measures.reverse_accuracy import refitted_head, reverse_dice


def made(seed, sign=1.0, fold=2):
    """Inputs of a known head and its logits; with a negative sign, inputs that mean the opposite."""
    features = torch.randn(3, 2, 12, 12, generator=torch.Generator().manual_seed(seed))
    weights = torch.randn(fold**2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    logits = functional.pixel_shuffle(functional.conv2d(features, weights, padding=1), fold) - 0.5
    columns = functional.unfold(sign * features, 3, padding=1)
    return torch.cat([columns, torch.ones_like(columns[:, :1])], 1), logits


def test_slow_reference():
    inputs, logits = made(1)
    rows, targets = [], []
    for n in range(3):
        for i in range(12):
            for j in range(12):
                rows.append(inputs[n, :, 12 * i + j].tolist())
                pixels = logits[n, 0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].flatten().tolist()
                targets.append([1.0 if logit > 0 else -1.0 for logit in pixels])
    expected = np.linalg.lstsq(np.array(rows), np.array(targets), rcond=None)[0]
    assert refitted_head(inputs, logits > 0).numpy() == pytest.approx(expected.T, abs=1e-4)


def test_a_head_refitted_where_features_mean_the_same_is_right_at_home():
    inputs, logits = made(1)
    assert reverse_dice(*made(2), inputs, logits > 0).item() > 0.9
    # Where they mean the opposite, the head finds the background.
    assert reverse_dice(*made(2, sign=-1), inputs, logits > 0).item() < 0.3
