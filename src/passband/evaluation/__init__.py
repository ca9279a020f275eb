"""Evaluation: predictions → counts of pixels → scores."""

from passband.evaluation.predict import predict
from passband.evaluation.scores import count_pixels, cross_table, dice

__all__ = ["count_pixels", "cross_table", "dice", "predict"]
