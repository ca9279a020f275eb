import polars as pl
import pytest
import torch

from passband.learning import Segmentation, TrainingConfig, count_pixels
from passband.studies.cross_tests import cross_table
from support.studies import SCORE_COLUMNS


def test_counts_of_known_images():
    masks = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]).float().reshape(2, 1, 2, 2)
    logits = torch.tensor([[3.0, -3.0, 3.0, -3.0], [-3.0, -3.0, -3.0, 3.0]]).reshape(2, 1, 2, 2)
    counts = count_pixels(logits, masks)
    assert [counts[c] for c in ("tp", "fp", "fn", "tn")] == [[1, 0], [1, 1], [1, 0], [1, 3]]


def test_losses_are_those_of_two_channels():
    """A logit is the difference of two channels; a softmax before PyTorch's own loss leaves the floor of ln(1 + 1/e)."""
    generator = torch.Generator().manual_seed(0)
    channels = 4 * torch.randn(5, 2, 6, 6, generator=generator)
    truth = torch.rand(5, 6, 6, generator=generator) > 0.6
    logits, masks = (channels[:, 1:] - channels[:, :1]), truth[:, None].float()
    plain, squeezed = (
        torch.nn.functional.cross_entropy(c, truth.long(), reduction="none").mean((1, 2))
        for c in (channels, channels.softmax(1))
    )
    task = Segmentation("softmax_cross_entropy")
    assert torch.allclose(Segmentation("cross_entropy").loss(logits, masks), plain, atol=1e-6)
    assert torch.allclose(task.loss(logits, masks), squeezed - 0.3132617, atol=1e-6)
    assert task.loss(200 * masks - 100, masks).tolist() == pytest.approx([0.0] * 5, abs=1e-6)
    assert task.loss(100 - 200 * masks, masks).tolist() == pytest.approx([1.0] * 5, abs=1e-6)
    truth = task.truth(masks[:, 0].numpy(), 1.0)
    assert task.score(logits, masks, truth)["loss"] == pytest.approx(task.loss(logits, masks).tolist())
    assert task.score(logits, masks, truth)["tp"] == count_pixels(logits, masks)["tp"]


def test_the_usual_loss_is_no_part_of_an_id():
    assert "loss" not in TrainingConfig().model_dump()
    other = TrainingConfig(loss="cross_entropy")
    assert TrainingConfig(**other.model_dump()) == other != TrainingConfig()


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
