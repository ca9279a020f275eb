"""Conditions: how an image is taken; values, files, sets, notations of other programs, presets of instruments."""

from passband.conditions.condition import ABERRATIONS, ANGLES, Condition
from passband.conditions.detector import Detector
from passband.conditions.stem_condition import AnyCondition, StemCondition, StemDetector, condition_of

__all__ = [
    "ABERRATIONS",
    "ANGLES",
    "AnyCondition",
    "Condition",
    "Detector",
    "StemCondition",
    "StemDetector",
    "condition_of",
]
