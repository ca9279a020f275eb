"""From the counts of each image to the scores of each pair of conditions."""

import polars as pl


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
