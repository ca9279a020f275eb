"""Analysis: scores joined with shift metrics, fits, held-out prediction, findings in words."""

from passband.analysis.curves import (
    epsilon_over_defocus,
    first_zero,
    information_limit,
    transfer_curves,
    transfer_map,
)
from passband.analysis.findings import findings
from passband.analysis.fits import PREDICTORS, fit_all, held_out_predictions, smooth_surface
from passband.analysis.join import join_pairs
from passband.analysis.ranking import LOW_EPSILON, RESAMPLES, rank
from passband.analysis.shift_table import set_shift_table, shift_table
from passband.analysis.training_sets import compare_sets

__all__ = [
    "LOW_EPSILON",
    "PREDICTORS",
    "RESAMPLES",
    "compare_sets",
    "epsilon_over_defocus",
    "findings",
    "first_zero",
    "fit_all",
    "held_out_predictions",
    "information_limit",
    "join_pairs",
    "rank",
    "set_shift_table",
    "shift_table",
    "smooth_surface",
    "transfer_curves",
    "transfer_map",
]
