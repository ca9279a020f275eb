"""Scores of particles against discs, whose outlines, distances and diameters are known."""

import math

import numpy as np
import polars as pl
import pytest
import torch

from passband.learning import SEGMENTATION, outlines
from passband.learning.particle_scores import COUNTS, SUMS, compare, particle_scores, regions_of
from passband.micrographs.agreement import agreement
from passband.studies.cross_tests import cross_table

Y, X = np.mgrid[:160, :200]
P = 0.5


def disc(radius, x, y):
    """A disc; all lengths in pixels."""
    return (X - x) ** 2 + (Y - y) ** 2 <= radius**2


EMPTY = disc(-1, 0, 0) & False
TRUTH = np.stack([disc(15, 60, 60), disc(20, 40, 40) | disc(20, 40, 120) | disc(25, 200, 80), EMPTY])
# Larger by 4 pixels; exact, missed, and cut by the edge; invented.
CALLED = np.stack([disc(19, 60, 60), disc(20, 40, 40) | disc(27, 200, 80), disc(12, 100, 80)])


def test_sums_of_images_add_up_to_scores_by_length():
    sums = compare(regions_of(CALLED, P), regions_of(TRUTH, P))
    assert [sums[name].tolist() for name in COUNTS] == [[1, 3, 0], [1, 2, 0], [0, 0, 1], [1, 1, 0]]
    scores = particle_scores({name: values.sum() for name, values in sums.items()})
    assert (scores["particles"], scores["found"], scores["missed"], scores["invented"]) == (4, 3, 1, 1)
    assert scores["instance_f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 1))
    # Lengths of outlines [pixels]: whole circles, and half ones at the edge.
    first, same, half = 2 * math.pi * np.array([15 + 19, 20 + 20, (25 + 27) / 2])
    alone = 2 * math.pi * (20 + 12)
    assert scores["distance_angstrom"] == pytest.approx(P * (4 * first + 2 * half) / (first + same + half), rel=0.02)
    assert scores["absolute_distance_angstrom"] == pytest.approx(scores["distance_angstrom"], abs=0.02)
    # Two pixels are an Å, which is within the tolerance; four are at it.
    near = compare(regions_of(CALLED, P), regions_of(TRUTH, P), 1.5)
    pooled = particle_scores({name: values.sum() for name, values in near.items()})
    assert pooled["surface_dice"] == pytest.approx((same + half) / (first + same + half + alone), abs=0.01)
    # The mean over images would be another number.
    each = particle_scores({name: values[:2] for name, values in sums.items()})
    assert abs(each["distance_angstrom"].mean() - scores["distance_angstrom"]) > 0.05
    assert scores["diameter_bias_angstrom"] == pytest.approx(P * (8 + 0) / 2, abs=0.05)


def test_several_images_are_each_alone_and_as_in_an_agreement():
    rng = np.random.default_rng(0)
    noise = rng.random((6, 160, 200))
    called = np.stack([TRUTH[i % 3] ^ (n > 0.995) | disc(9, *rng.uniform(0, 160, 2)) for i, n in enumerate(noise)])
    truth = TRUTH[[0, 1, 2, 0, 1, 2]]
    together = compare(regions_of(called, P), regions_of(truth, P))
    for i in range(len(truth)):
        alone = compare(regions_of(called[i : i + 1], P), regions_of(truth[i : i + 1], P))
        assert all(alone[name][0] == pytest.approx(together[name][i], rel=1e-9) for name in (*COUNTS, *SUMS))
        with np.errstate(invalid="ignore"):
            scores = particle_scores({name: values[0] for name, values in alone.items()})
        given = agreement(called[i], truth[i], P).to_dict()
        assert all(math.isnan(s) or given[name] == pytest.approx(s) for name, s in scores.items())


def test_a_tree_and_all_distances_find_the_same_pieces(monkeypatch):
    outline, points = outlines.outlines(TRUTH), np.random.default_rng(0).uniform(0, 150, (300, 2))
    borders = np.array([0, 100, 200, 300])
    few = outline.depth(points, borders)
    monkeypatch.setattr(outlines, "_FEW_PAIRS", 0)
    assert outline.depth(points, borders) == pytest.approx(few, abs=0.03)
    # Of the one disc of the first image; the last has no outline.
    assert few[:100] == pytest.approx(15 - np.hypot(*(points[:100] - 60).T), abs=0.3)
    assert np.isposinf(few[200:]).all()


def test_opposite_corners_are_two_outlines():
    grown = np.kron(np.array([[1, 0], [0, 1]], dtype=bool), np.ones((20, 20), dtype=bool))[None]
    for mask in (grown, ~grown):
        depth = outlines.outlines(mask).depth(np.array([[10.0, 10.0], [10.0, 30.0]]), np.array([0, 2]))
        assert (np.sign(depth) == np.where(mask[0, 10, [10, 30]], 1, -1)).all()
    assert compare(regions_of(grown, 1.0), regions_of(grown, 1.0))["particles"].tolist() == [2]


def test_a_table_of_scores_is_pooled_and_null_without_the_counts():
    logits, masks = torch.tensor(CALLED - 0.5)[:, None].float(), torch.tensor(TRUTH)[:, None].float()
    counts = SEGMENTATION.score(logits, masks, SEGMENTATION.truth(TRUTH, P))
    keys = {"train_condition": "a", "test_condition": "x", "seed": 0}
    table = pl.DataFrame(keys | counts)
    row = cross_table(table).row(0, named=True)
    sums = {name: np.sum(counts[name]) for name in SEGMENTATION.counts}
    assert all(row[name] == pytest.approx(value, rel=1e-5) for name, value in SEGMENTATION.scores(sums).items())
    assert row["dice"] == pytest.approx(2 * (CALLED & TRUTH).sum() / (CALLED.sum() + TRUTH.sum()))
    former = cross_table(table.drop(*COUNTS, *SUMS))
    new = cross_table(table).columns[cross_table(table).columns.index("n_images") + 1 :]
    assert former.schema == cross_table(table).schema and former.select(new).row(0) == (None,) * len(new)
    assert former.row(0)[:10] == cross_table(table).row(0)[:10]
    # Nothing to find and nothing found is no number.
    nothing = cross_table(
        pl.DataFrame(keys | {name: [values[2]] for name, values in counts.items()} | {"invented": [0]})
    )
    assert nothing["instance_f1"].is_nan().all() and nothing["distance_angstrom"].is_nan().all()
