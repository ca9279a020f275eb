"""What predicts the loss on another family: made-up losses whose answer is known."""

import numpy as np
import pytest

from replication import families, structures
from replication.structures import FamilyTable

FAMILIES, CONDITIONS = np.arange(6), np.arange(4)
SHAPE = (6, 4, 6, 4)
rng = np.random.default_rng(0)


def made(excess, **features):
    """A table of a given ln of loss over that of networks trained there."""
    a, c = np.indices(SHAPE[:2])
    excess = excess.copy()
    excess[a, c, a, c] = 0
    return FamilyTable(np.exp(excess), features, FAMILIES, CONDITIONS)


def test_a_fit_without_two_families_finds_a_law_that_all_share_and_no_other():
    x = rng.normal(size=SHAPE)
    lawful, noise = made(1 + 2 * x + x**2, x=x), made(rng.normal(size=SHAPE), x=x)
    for whole, expected in ((lawful, pytest.approx(1, abs=1e-6)), (noise, pytest.approx(0, abs=0.1))):
        whole.features["said"] = structures._unseen(whole, ("x",))
        assert structures._r2(whole, "said") == expected
    # What is special to a family is not known without it.
    own = made(np.broadcast_to(rng.normal(size=(6, 1, 6, 1)), SHAPE), x=x)
    own.features["said"] = structures._unseen(own, ("x",))
    assert structures._r2(own, "said") < 0.1


def test_ranks_are_over_pairs_of_different_families():
    x = rng.normal(size=SHAPE)
    whole = made(x, x=x, y=-x)
    assert families._rank("log_excess", "x", whole) == pytest.approx(1)
    assert families._rank("log_excess", "y", whole, same=True) == pytest.approx(-1)
    assert families._used(whole, same=True).sum() == 6 * 5 * 4


def test_errors_turn_with_what_families_gain():
    gain = np.broadcast_to((np.arange(6) - np.arange(6)[:, None])[:, None, :, None], SHAPE).astype(float)
    turned = made(np.zeros(SHAPE), fp=100 * np.exp(gain), fn=100 * np.exp(-gain), gain=gain)
    assert structures.lopsided(turned) == pytest.approx(1)
    random = made(np.zeros(SHAPE), fp=rng.uniform(1, 9, SHAPE), fn=rng.uniform(1, 9, SHAPE), gain=gain)
    assert abs(structures.lopsided(random)) < 0.2


def test_the_ceiling_is_what_noise_of_seeds_leaves(monkeypatch):
    class Noisy:
        loss = np.exp(rng.normal(0, 0.1, (60, 60, 2)))

    monkeypatch.setattr(families.predictor, "load", lambda tables, name: Noisy)
    losses = rng.normal(0, 0.5, 100_000)
    assert families.ceiling(None, "log_loss", losses).value == pytest.approx(1 - 0.01 / 0.25, abs=0.004)
