import numpy as np
import pytest
import torch

from passband.network_measures.seed_agreement import agreement_on_the_line, dice_between, seed_agreement, seed_dice
from support.logits import calibrated


def test_slow_references():
    logits = calibrated(2, 16)[0]
    others = torch.stack([calibrated(2, 16, seed=i)[0] + 0.5 * logits for i in (1, 2, 3)])
    for i in range(2):
        agree, dice = [], []
        for other in others:
            a, b = (logits[i] > 0).flatten().tolist(), (other[i] > 0).flatten().tolist()
            agree.append(np.mean([x == y for x, y in zip(a, b, strict=True)]))
            dice.append(2 * sum(x and y for x, y in zip(a, b, strict=True)) / (sum(a) + sum(b)))
        assert seed_agreement(logits, others)[i] == pytest.approx(np.mean(agree))
        assert seed_dice(logits, others)[i] == pytest.approx(np.mean(dice))


def test_empty_masks_agree():
    empty = torch.zeros(1, 4, 4, dtype=torch.bool)
    assert dice_between(empty, empty).item() == 1
    assert dice_between(empty, ~empty).item() == 0


def test_the_disagreement_of_an_honest_ensemble_is_its_error():
    """Networks whose votes are drawn from the probability of the truth err as often as two of them disagree."""
    logits, masks = calibrated(4, 128)
    generator = torch.Generator().manual_seed(3)
    votes = (torch.rand(2, *logits.shape, generator=generator) < logits.sigmoid()).float() - 0.5
    error = 1 - seed_agreement(masks.float() - 0.5, votes).mean()
    assert 1 - seed_agreement(votes[0], votes[1:]).mean() == pytest.approx(error.item(), abs=0.005)


def test_agreement_on_a_line_gives_the_accuracy_on_it():
    generator = torch.Generator().manual_seed(1)
    accuracy = 0.7 + 0.25 * torch.rand(4, generator=generator, dtype=torch.float64)
    home = 0.7 + 0.25 * torch.rand(4, 4, generator=generator, dtype=torch.float64)

    def line(shares):
        return torch.special.ndtr(0.8 * torch.special.ndtri(shares) - 0.6)

    estimated = agreement_on_the_line(accuracy, home, line(home))
    assert estimated.tolist() == pytest.approx(line(accuracy).tolist(), abs=1e-9)
