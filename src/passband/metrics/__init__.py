"""Shift metrics: what a condition transfers (ε), how far two conditions lie apart (σ, phases, …), one registry."""

from passband.metrics.band import Q_MAX
from passband.metrics.compare import dataset_information, dataset_overlap, information, profile_overlaps
from passband.metrics.registry import METRICS, Metric, measure

__all__ = [
    "METRICS",
    "Q_MAX",
    "Metric",
    "dataset_information",
    "dataset_overlap",
    "information",
    "measure",
    "profile_overlaps",
]
