"""Shift metrics: what a condition transfers (ε) and how far two conditions lie apart (σ, |Δdefocus|)."""

from passband.shift.compare import Q_MAX, Shift, compare
from passband.shift.defocus_difference import defocus_difference
from passband.shift.information import information
from passband.shift.overlap import overlap

__all__ = ["Q_MAX", "Shift", "compare", "defocus_difference", "information", "overlap"]
