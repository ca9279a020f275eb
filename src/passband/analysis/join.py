"""Scores joined with the shift between their conditions."""

import polars as pl

#: A condition counts as zero defocus within this distance [Å].
ZERO_DEFOCUS = 1.0


def join_pairs(
    scores: pl.DataFrame, shift: pl.DataFrame, conditions: pl.DataFrame, labels: dict[str, str] | None = None
) -> pl.DataFrame:
    """Return scores with shift metrics, each network's in-domain loss and whether zero defocus takes part.

    Args:
        scores: a row per train condition, test condition and seed.
        shift: a row per train condition and test condition.
        conditions: a row per test condition.
        labels: of training sets, which conditions lack.

    Returns:
        The rows of scores with the columns of shift and: own_loss (the in-domain loss: the same network under its training condition),
        train_zero, test_zero, train_label, test_label. Where training sets are tested, own_loss is null.
    """
    # Where every condition lies at zero defocus, none is marked.
    at_zero = pl.col("defocus_angstrom").abs() < ZERO_DEFOCUS
    zero = conditions.select("condition", "label", zero=at_zero & ~at_zero.all())
    sets = {name: label for name, label in (labels or {}).items() if name not in set(conditions["condition"])}
    if sets:
        more = pl.DataFrame({"condition": list(sets), "label": list(sets.values()), "zero": False})
        zero = pl.concat([zero, more])
    in_domain = scores.filter(pl.col("train_condition") == pl.col("test_condition")).select(
        "train_condition", "seed", own_loss="loss"
    )
    pairs = scores.join(shift, on=["train_condition", "test_condition"], how="left", maintain_order="left")
    pairs = pairs.join(in_domain, on=["train_condition", "seed"], how="left", maintain_order="left")
    for side in ("train", "test"):
        named = zero.rename({"condition": f"{side}_condition", "label": f"{side}_label", "zero": f"{side}_zero"})
        pairs = pairs.join(named, on=f"{side}_condition", how="left", maintain_order="left")
    return pairs
