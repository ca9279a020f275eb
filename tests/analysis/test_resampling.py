import numpy as np
import polars as pl
import pytest

from passband.analysis.pairs import Square
from replication.outcome import judged
from replication.resampling import Statistic, drawn_again, measured


def tables(n=8, seeds=3, noise=0.1, seed=0):
    """Losses that grow with a known feature, with noise between networks."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 1, n)
    rows, shift = [], []
    for i in range(n):
        for j in range(n):
            distance = abs(place[i] - place[j])
            shift.append(
                {
                    "train_condition": f"c{i}",
                    "test_condition": f"c{j}",
                    "sigma": 1 - distance,
                    "epsilon_train": place[i],
                    "epsilon_test": place[j],
                    "delta_epsilon": place[j] - place[i],
                }
            )
            rows += [
                {
                    "train_condition": f"c{i}",
                    "test_condition": f"c{j}",
                    "seed": s,
                    "loss": 0.1 * np.exp(3 * distance + noise * rng.standard_normal()),
                }
                for s in range(seeds)
            ]
    order = np.random.default_rng(1).permutation(len(rows))
    return pl.DataFrame([rows[i] for i in order]), pl.DataFrame(shift)


def test_laid_out_as_the_tables_say():
    scores, shift = tables()
    square = Square(scores, shift)
    pairs = square.pairs
    one = scores.filter((pl.col("train_condition") == "c2") & (pl.col("test_condition") == "c5"))["loss"].mean()
    assert pairs.loss[2, 5] == pytest.approx(one)
    assert (
        pairs.features["sigma"][2, 5]
        == shift.filter((pl.col("train_condition") == "c2") & (pl.col("test_condition") == "c5"))["sigma"][0]
    )
    assert pairs.log_ratio[2, 5] == pytest.approx(np.log(pairs.loss[2, 5] / pairs.loss[2, 2]))
    assert pairs.off.sum() == 56
    assert not pairs.off.diagonal().any()


def test_a_network_that_is_missing_leaves_nan_not_zero():
    scores, shift = tables()
    square = Square(scores.filter(pl.col("train_condition") != "c3"), shift)
    assert np.isnan(square.pairs.loss[3]).all()
    # Neither its row nor its column, where nobody knows what a network trained there would lose.
    assert square.pairs.off.sum() == 42


def test_a_condition_drawn_twice_is_no_pair_with_itself():
    square = Square(*tables())
    again = drawn_again(square, np.random.default_rng(0))
    assert len(set(again.drawn)) < 8
    same = again.drawn[:, None] == again.drawn
    assert not again.off[same].any()
    i, j = np.argwhere(~same)[0]
    low, high = square.loss[again.drawn[i], again.drawn[j]].min(), square.loss[again.drawn[i], again.drawn[j]].max()
    assert low <= again.loss[i, j] <= high


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = np.log(0.1) + 3 / 3  # the mean distance of two uniform places is 1/3
    hits = 0
    for seed in range(40):
        found = measured(Square(*tables(n=12, seed=seed)), lambda p: float(np.log(p.loss[p.off]).mean()), "test")
        hits += found.low <= truth <= found.high
    assert 30 <= hits <= 40


def test_the_same_figure_every_time_and_several_studies_together():
    one, two = Square(*tables(seed=1)), Square(*tables(seed=2))

    def both(*several):
        return float(np.mean([np.log(p.loss[p.off]).mean() for p in several]))

    found, again = measured([one, two], both, "x"), measured([one, two], both, "x")
    assert found == again
    assert found.value == pytest.approx((both(one.pairs) + both(two.pairs)) / 2)


def test_verdicts_need_the_whole_interval():
    assert judged(Statistic(0.5, 0.3, 0.7), above=0.2) == "agrees"
    assert judged(Statistic(0.5, 0.1, 0.7), above=0.2) == "cannot tell"
    assert judged(Statistic(0.1, 0.0, 0.15), above=0.2) == "differs"
    assert judged(Statistic(0.1, 0.0, 0.15), below=0.2) == "agrees"
    assert judged(Statistic(0.5, 0.3, 0.7), below=0.2) == "differs"
    assert judged(Statistic(float("nan"), 0, 1), below=0.2) == "cannot tell"
