import itertools

import numpy as np
import pytest
import torch

from passband.conditions import Condition
from passband.metrics import dataset_overlap, profile_overlaps
from passband.optics import intensity_transfer, stack
from passband.studies.training_sets import Pool, choose


def conditions(*defoci, **content):
    return [
        Condition(energy_ev=300e3, aberrations={"C10": -d, "C30": -5e4}, focal_spread_angstrom=20.0, **content)
        for d in defoci
    ]


def test_one_comes_from_each_part_of_epsilon():
    rng = np.random.default_rng(0)
    epsilon, sigma = rng.uniform(0, 1, 40), rng.uniform(0, 1, (40, 40))
    chosen = choose(epsilon, sigma, 5)
    rank = np.argsort(np.argsort(-epsilon))
    assert sorted(rank[chosen] // 8) == [0, 1, 2, 3, 4]
    assert list(epsilon[chosen]) == sorted(epsilon[chosen], reverse=True)


def test_close_to_the_best_of_all_choices():
    """Exchanges end where no single one helps; that is seldom far from the best of all choices."""
    shares = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        places = rng.uniform(0, 1, 15)
        epsilon = rng.uniform(0, 1, 15)
        sigma = np.exp(-np.abs(places[:, None] - places) * 3)
        parts = np.array_split(np.argsort(-epsilon, kind="stable"), 3)
        best = max(sigma[list(some)].max(0).min() for some in itertools.product(*parts))
        shares.append(sigma[choose(epsilon, sigma, 3)].max(0).min() / best)
    assert max(shares) <= 1
    assert np.median(shares) > 0.95
    assert min(shares) > 0.75


def test_better_served_than_by_chance():
    pool = Pool(conditions(*np.linspace(-200, 200, 41)))
    chosen = [pool.candidates.index(c) for c in pool.choose(4)]
    worst = pool.sigma[chosen].max(0).min()
    rng = np.random.default_rng(1)
    chance = [pool.sigma[rng.choice(41, 4, replace=False)].max(0).min() for _ in range(200)]
    assert worst >= np.quantile(chance, 0.95) > np.median(chance)


def test_too_few_candidates():
    with pytest.raises(ValueError, match="cannot choose 3 of 2 conditions; give at least as many"):
        Pool(conditions(0.0, 50.0)).choose(3)


def test_overlaps_of_sets_are_those_of_their_mean_transfer():
    sets = [conditions(50.0, -80.0), conditions(120.0), conditions(0.0, 30.0, 60.0)]
    found = profile_overlaps(sets[:2], sets)
    assert found.shape == (2, 3)
    assert found[1, 1] == pytest.approx(1.0)
    # A plain sum over a fine grid of frequencies.
    k = torch.linspace(-1, 1, 401, dtype=torch.float64)
    qx, qy = torch.meshgrid(k, k, indexing="ij")
    inside = (qx**2 + qy**2 <= 1) & (qx**2 + qy**2 > 0)
    profiles = [intensity_transfer(stack(s), qx[inside], qy[inside]).abs().mean(0) for s in sets]
    for i, j in itertools.product(range(2), range(3)):
        slow = torch.minimum(profiles[i], profiles[j]).sum() / profiles[i].sum()
        assert found[i, j].item() == pytest.approx(slow.item(), abs=3e-3)
    assert dataset_overlap(sets[0], sets[2]) == pytest.approx(found[0, 2].item(), abs=1e-3)
