"""Conditions: how an image is taken; values, files, sets, notations of other programs, presets of instruments."""

from passband.conditions.condition import ABERRATIONS, ANGLES, Condition
from passband.conditions.detector import Detector

__all__ = ["ABERRATIONS", "ANGLES", "Condition", "Detector"]
