import itertools

import numpy as np
import pytest
import torch
from torch import nn

from passband.network_measures.orientation_agreement import orientation_agreement, orientation_dice, oriented_logits


def votes(count=8, images=2, pixels=8):
    return torch.randn(count, images, 1, pixels, pixels, generator=torch.Generator().manual_seed(0))


def test_orientations_are_turned_back():
    image = votes(1)[0]
    assert torch.equal(oriented_logits(nn.Identity(), image), image.expand(8, *image.shape))


def test_a_network_without_direction_agrees_with_itself():
    round_, slanted = (nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(2))
    round_.weight.data[:] = torch.tensor([[0.0, 1, 0], [1, -3, 1], [0, 1, 0]])
    slanted.weight.data[:] = torch.tensor([[0.0, 1, 0], [0, -3, 1], [0, 0, 0]])
    image = votes(1, pixels=32)[0]
    agreements = [orientation_agreement(oriented_logits(network, image)) for network in (round_, slanted)]
    assert agreements[0].tolist() == [1, 1]
    assert (agreements[1] < 0.95).all()


def test_slow_references():
    logits = votes()
    for i in range(logits.shape[1]):
        masks = [(one[i] > 0).numpy() for one in logits]
        pairs = list(itertools.combinations(masks, 2))
        assert orientation_agreement(logits)[i] == pytest.approx(np.mean([(a == b).mean() for a, b in pairs]))
        dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]
        assert orientation_dice(logits)[i] == pytest.approx(np.mean(dice))
