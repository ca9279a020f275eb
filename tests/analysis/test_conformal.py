"""Split-conformal intervals: the rank they take, and how often they contain the truth."""

import numpy as np
import polars as pl
import pytest

from passband.analysis.conformal import LEVEL, coverage_table, half_width, with_value_errors


def test_the_half_width_is_the_rank_that_the_theorem_needs():
    # ⌈(n + 1) · 0.9⌉: 9 of 9, 18 of 19, 19 of 20, 90 of 99.
    for n, rank in ((9, 9), (19, 18), (20, 19), (99, 90)):
        errors = np.random.default_rng(n).permutation(np.arange(1, n + 1)) * np.where(np.arange(n) % 2, 1, -1)
        assert half_width(errors) == rank
    assert half_width(np.arange(8)) is None and half_width([]) is None


def test_new_images_of_the_calibrated_kind_are_covered_as_often_as_said():
    rng = np.random.default_rng(0)
    shares = [np.mean(np.abs(rng.normal(size=200)) <= half_width(rng.normal(size=40))) for _ in range(2000)]
    # In the mean over calibrations between the level and level + 1 / (n + 1).
    assert LEVEL - 0.005 < np.mean(shares) < LEVEL + 1 / 41 + 0.005


def rows(network, test, errors):
    return pl.DataFrame(
        {"train_condition": network, "test_condition": test, "seed": 0, "specimen": range(len(errors)), "error": errors}
    )


def test_each_half_of_the_specimens_is_tested_with_the_interval_of_the_other():
    home = np.arange(1.0, 21.0)
    away = np.where(np.arange(20) % 2, 19.5, 17.5)
    tests = pl.concat([rows("a", "a", home), rows("a", "b", away)])
    table = coverage_table(tests, tests.filter(pl.col("test_condition") == "a"))
    # Even specimens have the errors 1, 3, …, 19, odd ones 2, 4, …, 20: of ten the tenth.
    assert table["half_width_angstrom"].to_list() == [pytest.approx(19.5)] * 2
    assert table["coverage"].to_list() == [pytest.approx(0.95), pytest.approx(0.5)]
    assert table["images"].to_list() == [20, 20]


def test_too_few_specimens_have_no_coverage():
    tests = rows("a", "a", np.ones(16))
    assert not len(coverage_table(tests, tests))


def test_the_error_of_a_value_is_that_of_the_mean_over_its_pixels():
    counts = pl.DataFrame({"values": [4, 1], "errors": [2.0, -3.0]})
    assert with_value_errors(counts)["error"].to_list() == [0.5, -3.0]
