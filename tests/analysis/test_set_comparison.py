import numpy as np
import polars as pl
import pytest

from passband.analysis.set_comparison import compare_sets, set_results
from replication.training_sets import set_ratio


def scores(levels, draws=5, tests=30, seed=0):
    """Losses of sets whose level is known, with noise of sets and of test conditions."""
    rng = np.random.default_rng(seed)
    hard = np.exp(0.4 * rng.standard_normal(tests))
    rows = []
    for (kind, size), level in levels.items():
        for draw in range(draws):
            own = level * np.exp(0.05 * rng.standard_normal())
            rows += [
                {
                    "train_condition": f"{kind}-{size}-{draw}",
                    "test_condition": f"t{t}",
                    "seed": 0,
                    "loss": own * hard[t],
                    "dice": 1 - own * hard[t] / 4,
                }
                for t in range(tests)
            ]
    return pl.DataFrame(rows)


def test_means_and_worst_by_a_plain_sum():
    table = scores({("uniform", 1): 0.3, ("guided", 4): 0.1})
    row = set_results(table).filter(pl.col("kind") == "guided").to_dicts()[0]
    own = table.filter(pl.col("train_condition").str.starts_with("guided"))
    assert row["mean_loss"] == pytest.approx(own["loss"].mean())
    worst = own.group_by("train_condition").agg(pl.col("loss").max())["loss"].mean()
    assert row["worst_loss"] == pytest.approx(worst)
    tail = np.mean([np.sort(g["loss"].to_numpy())[-3:].mean() for _, g in own.group_by("train_condition")])
    assert row["tail_loss"] == pytest.approx(tail)
    assert row["worst_dice"] == pytest.approx(own.group_by("train_condition").agg(pl.col("dice").min())["dice"].mean())
    assert (row["size"], row["n_sets"], row["n_networks"]) == (4, 5, 5)
    assert row["mean_loss_low"] < row["mean_loss"] < row["mean_loss_high"]


def test_a_ratio_is_found_though_the_tests_differ_in_difficulty():
    table = scores({("uniform", 8): 0.2, ("guided", 8): 0.15})
    found = set_ratio(table, "guided", "uniform", [(8, 8)])
    # The tests' own spread is larger than the difference, but both met the same tests.
    assert found.low < 0.75 < found.high < 0.9
    for score in ("tail", "worst"):
        assert set_ratio(table, "guided", "uniform", [(8, 8)], score).value == pytest.approx(0.75, abs=0.06)


@pytest.mark.slow
def test_where_nothing_differs_the_interval_says_so_about_as_often_as_it_should():
    hits = 0
    for seed in range(60):
        table = scores(
            {("uniform", 4): 0.2, ("uniform", 8): 0.2, ("guided", 4): 0.2, ("guided", 8): 0.2}, draws=4, seed=seed
        )
        found = set_ratio(table, "guided", "uniform", [(4, 4), (8, 8)])
        hits += found.low < 1 < found.high
    assert hits >= 52


def test_sets_of_the_same_conditions_are_compared_draw_by_draw():
    table = scores({("guided", 8): 0.2}, draws=6, seed=3)
    same = table.with_columns(pl.col("train_condition").str.replace("guided", "curriculum"), loss=pl.col("loss") * 0.95)
    found = set_ratio(pl.concat([table, same]), "curriculum", "guided", [(8, 8)])
    assert (found.low, found.value, found.high) == pytest.approx((0.95, 0.95, 0.95))


def test_a_missing_network_is_left_out():
    table = scores({("uniform", 2): 0.2}).filter(pl.col("train_condition") != "uniform-2-1")
    found = compare_sets(table)
    assert found["sets"][0]["n_networks"] == 4
    assert found["sentences"][0].startswith("uniform, 2 conditions (4 sets, 4 networks): mean loss 0.2")
