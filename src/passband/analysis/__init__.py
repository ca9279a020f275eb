"""Analysis: scores joined with shift metrics, fits, held-out prediction, findings in words."""

from passband.analysis.findings import findings
from passband.analysis.fits import PREDICTORS, fit_all, held_out_predictions, smooth_surface, why_undefined
from passband.analysis.pairs import join_pairs
from passband.analysis.ranking import LOW_EPSILON, RESAMPLES, rank
from passband.analysis.set_comparison import compare_sets

__all__ = [
    "LOW_EPSILON",
    "PREDICTORS",
    "RESAMPLES",
    "compare_sets",
    "findings",
    "fit_all",
    "held_out_predictions",
    "join_pairs",
    "rank",
    "smooth_surface",
    "why_undefined",
]
