"""Raw counts of each image are stored; scores are derived from them."""

import polars as pl
import torch
from torch import Tensor

from passband.learning.losses import segmentation_loss


def count_pixels(logits: Tensor, masks: Tensor) -> dict[str, list[float]]:
    """Return loss, tp, fp, fn and tn of each image, a list of length B each.

    Args:
        logits: shape [B, 1, n, n]; a pixel is called particle above 0.
        masks: 0 or 1, floating, the same shape.
    """
    called, true = logits > 0, masks > 0.5
    counts = {"tp": called & true, "fp": called & ~true, "fn": ~called & true, "tn": ~called & ~true}
    columns: dict[str, list[float]] = {"loss": segmentation_loss(logits, masks).to(torch.float64).tolist()}
    return columns | {name: pixels.sum((1, 2, 3)).tolist() for name, pixels in counts.items()}


def dice(tp: pl.Expr, fp: pl.Expr, fn: pl.Expr) -> pl.Expr:
    """Return Dice 2 tp / (2 tp + fp + fn); NaN where there is nothing to find and nothing was called."""
    return 2 * tp / (2 * tp + fp + fn)


def cross_table(counts: pl.DataFrame) -> pl.DataFrame:
    """Return a row per train condition, test condition and seed: mean loss, summed counts, Dice from the sums.

    Args:
        counts: a row per image with train_condition, test_condition, seed, loss, tp, fp, fn, tn.
    """
    keys = ["train_condition", "test_condition", "seed"]
    pixels = ["tp", "fp", "fn", "tn"]
    return (
        counts.group_by(keys, maintain_order=True)
        .agg(pl.col("loss").mean(), *[pl.col(c).sum() for c in pixels], pl.len().cast(pl.Int64).alias("n_images"))
        .with_columns(dice=dice(pl.col("tp"), pl.col("fp"), pl.col("fn")))
        .select(*keys, "loss", "dice", *pixels, "n_images")
    )
