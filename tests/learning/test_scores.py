import polars as pl
import pytest
import torch

from passband.learning import count_pixels
from passband.studies.cross_tests import cross_table
from support.studies import SCORE_COLUMNS


def test_counts_of_known_images():
    masks = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).float().reshape(2, 1, 2, 2)
    logits = torch.tensor([[3.0, -3.0, 3.0, -3.0], [-3.0, -3.0, -3.0, 3.0]]).reshape(2, 1, 2, 2)
    counts = count_pixels(logits, masks)
    assert [counts[c] for c in ("tp", "fp", "fn", "tn")] == [[1, 0], [1, 1], [1, 0], [1, 3]]


def test_cross_table_sums_counts_and_averages_loss():
    counts = pl.DataFrame(
        {
            "train_condition": ["a"] * 3 + ["b"],
            "test_condition": ["x", "x", "y", "x"],
            "seed": [0, 0, 0, 1],
            "loss": [0.2, 0.4, 0.5, 0.1],
            "tp": [3, 1, 0, 4],
            "fp": [1, 1, 0, 0],
            "fn": [0, 2, 0, 0],
            "tn": [5, 5, 9, 5],
        }
    )
    table = cross_table(counts)
    assert table.columns == SCORE_COLUMNS
    first = table.row(0, named=True)
    assert (first["tp"], first["fp"], first["fn"], first["tn"], first["n_images"]) == (4, 2, 2, 10, 2)
    assert first["loss"] == pytest.approx(0.3)
    assert first["dice"] == pytest.approx(8 / 12)
    # An empty image found empty has no Dice; it must not count as 0 or 1.
    assert table.row(1, named=True)["dice"] != table.row(1, named=True)["dice"]
    assert table.row(2, named=True)["dice"] == 1
