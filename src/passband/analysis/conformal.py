"""Intervals of a predicted value by split conformal prediction (Papadopoulos et al., ECML 2002), and how often they contain the truth."""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

#: Share of new values of the calibrated kind that an interval contains at least, on average over calibrations.
LEVEL = 0.9
_NETWORK = ("train_condition", "seed")


def half_width(errors: Sequence[float] | NDArray[np.float64] | pl.Series, level: float = LEVEL) -> float | None:
    """Return the half width of the interval around a prediction, from the errors of n calibration images.

    It is the ⌈(n + 1) level⌉-th smallest absolute error; None if n is too small for it, below 9 for a level of 0.9.
    """
    ordered = np.sort(np.abs(np.asarray(errors, dtype=float)))
    place = math.ceil(round((len(ordered) + 1) * level, 9))
    return float(ordered[place - 1]) if place <= len(ordered) else None


def with_value_errors(counts: pl.DataFrame) -> pl.DataFrame:
    """Return counts of a task whose images have a value (`learning.Task.value`), a row an image, with the error of that value."""
    return counts.with_columns(error=pl.col("errors") / pl.col("values"))


def coverage_table(tests: pl.DataFrame, calibration: pl.DataFrame, level: float = LEVEL) -> pl.DataFrame:
    """Return how often intervals that are calibrated under the training condition contain the truth under each test condition.

    Each half of the specimens (even and odd numbers) is tested with the interval that is calibrated on the other, so that no specimen is
    both.

    Args:
        tests: train_condition, test_condition, seed, specimen and error, a row an image.
        calibration: train_condition, seed, specimen and error of images under the training condition, a row an image.
        level: of the intervals.

    Returns:
        train_condition, test_condition, seed, coverage (a share), half_width_angstrom (mean of both halves) and images, a row for each network and
        test condition; networks with too few calibration images have none.
    """
    rows = []
    for (train, seed, odd), errors in calibration.group_by(*_NETWORK, pl.col("specimen") % 2, maintain_order=True):
        width = half_width(errors["error"], level)
        if width is not None:
            rows.append((train, seed, 1 - int(str(odd)), width))
    widths = pl.DataFrame(
        rows, {"train_condition": pl.String, "seed": pl.Int64, "odd": pl.Int64, "half_width": pl.Float64}, orient="row"
    )
    return (
        tests.with_columns(odd=pl.col("specimen") % 2)
        .join(widths, on=[*_NETWORK, "odd"], how="inner", maintain_order="left")
        .group_by("train_condition", "test_condition", "seed", maintain_order=True)
        .agg(
            coverage=(pl.col("error").abs() <= pl.col("half_width")).mean(),
            half_width_angstrom=pl.col("half_width").mean(),
            images=pl.len().cast(pl.Int64),
        )
    )
