"""Counts of particles and outlines under a condition, and the confidence that scoring fits to them."""

import numpy as np
import polars as pl
import pytest
import torch

from passband.micrographs.agreement import agreement
from passband.verdicts.calibration import particle_counts, pooled_scores, with_scores
from support import made

Y, X = np.mgrid[:64, :64]


def discs(*places):
    return np.any([np.hypot(X - x, Y - y) < r for x, y, r in places], axis=0)


def test_they_are_those_of_agreement_added_up():
    """One found and one missed, one found and one invented, and an empty image left empty."""
    truth = np.stack([discs((16, 16, 8), (48, 48, 9)), discs((40, 20, 10)), np.zeros((64, 64), bool)])
    called = np.stack([discs((16, 17, 8)), discs((41, 20, 10), (12, 50, 6)), np.zeros((64, 64), bool)])
    logits = torch.from_numpy(np.where(called, 3.0, -3.0).astype(np.float32))[:, None]
    counts, features, right = particle_counts(logits, torch.from_numpy(truth), made.card())
    assert counts["found"].tolist() == [1, 1, 0] and counts["both"].tolist() == [3, 3, 0]
    # Particles are numbered from above.
    assert len(features) == 3 and right.tolist() == [True, True, False]
    pixels = {"tp": (called & truth).sum(), "fp": (called & ~truth).sum(), "fn": (~called & truth).sum()}
    scores = pooled_scores({k: np.array([v]) for k, v in pixels.items()} | counts | {"loss": np.array([0.2, 0.4])})
    assert scores["loss"] == pytest.approx(0.3) and scores["instance_f1"] == pytest.approx(4 / 6)
    for i in range(2):
        one = pooled_scores(
            {k: v[i : i + 1] for k, v in counts.items()} | dict.fromkeys(("tp", "fp", "fn", "loss"), np.zeros(1))
        )
        expected = agreement(called[i], truth[i], 0.8)
        assert one["surface_dice"] == pytest.approx(expected.surface_dice)
        assert one["instance_f1"] == pytest.approx(expected.instance_f1)
    nothing = pooled_scores(
        {k: v[2:] for k, v in counts.items()} | dict.fromkeys(("tp", "fp", "fn", "loss"), np.zeros(1))
    )
    assert nothing["surface_dice"] == nothing["instance_f1"] == 1


def test_a_scored_model_has_a_confidence_and_its_reliability(tmp_path):
    """Particles are right with their probability."""
    rng = np.random.default_rng(0)
    bare = made.bare_model(tmp_path / "made")
    conditions = [("calibration", c) for c in made.draw(45, 8)] + [("held_out", c) for c in made.draw(12, 9)]
    scores = made.scores(bare, conditions)
    particles, right = [], []
    for i in range(len(scores)):
        logit = rng.normal(1, 1.5, 40 if i else 0)
        particles.append(np.stack([logit, *rng.normal(0, 1, (5, len(logit)))], 1).tolist())
        right.append((rng.random(len(logit)) < 1 / (1 + np.exp(-logit))).tolist())
    lists = {
        "particles": pl.Series(particles, dtype=pl.List(pl.List(pl.Float64))),
        "right": pl.Series(right, dtype=pl.List(pl.Boolean)),
    }
    model = with_scores(bare, scores.with_columns(**lists))
    features = np.array([[z, 0, 0, 0, 0, 0] for z in (-1.0, 1.0, 3.0)])
    assert model.confidence.of(features) == pytest.approx(1 / (1 + np.exp([1.0, -1.0, -3.0])), abs=0.04)
    held = model.scores.filter(pl.col("role") == "held_out")
    assert "particles" not in held.columns and sum(map(sum, held["confidence_particles"])) == 12 * 40
    assert model.scores["confidence_particles"][0].to_list() == [0] * 5
