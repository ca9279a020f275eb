"""Krivanek's Cartesian notation, as in Nion's software: C12a = C12 cos 2φ12, C12b = C12 sin 2φ12, and so on.

Source: Krivanek, Dellby and Lupini, Ultramicroscopy 78 (1999) 1; Nion Swift writes C12.a or C12a, in metres, C10 > 0 over focus.
"""

import math
from typing import Any

from passband.conditions.condition import ABERRATIONS, ANGLES, Condition
from passband.conditions.notations.quantities import length, renamed, unknown

_NAMES = {s: [s] if s not in ANGLES else [s + "a", s + "b"] for s in ABERRATIONS}


def read(content: dict[str, Any]) -> dict[str, Any]:
    """Return `aberrations` from C10, C12a, C12b … (or C12.a); ValueError on unknown names or a missing unit."""
    content = renamed(content, lambda name: name.replace(".", ""))
    unknown(content, {name for names in _NAMES.values() for name in names}, "krivanek")
    aberrations: dict[str, float] = {}
    for symbol, names in _NAMES.items():
        aberrations |= polar(symbol, [length(name, content.get(name, 0)) for name in names])
    return {"aberrations": aberrations}


def write(condition: Condition) -> dict[str, Any]:
    """Return the coefficients that are not zero, as text in nm."""
    return {name: f"{value / 10:.10g} nm" for name, value in cartesian(condition).items()}


def polar(symbol: str, parts: list[float]) -> dict[str, float]:
    """Return C_nm and phi_nm from the cosine and sine part (or from the only part of a round aberration)."""
    if len(parts) == 1:
        return {symbol: parts[0]}
    m = ABERRATIONS[symbol][1]
    return {symbol: math.hypot(*parts), ANGLES[symbol]: math.atan2(parts[1], parts[0]) / m}


def cartesian(condition: Condition) -> dict[str, float]:
    """Return the Cartesian coefficients [Å] of a condition that are not zero."""
    content: dict[str, float] = {}
    for symbol, magnitude in condition.aberrations.items():
        if symbol in ABERRATIONS:
            turn = ABERRATIONS[symbol][1] * condition.aberrations.get(ANGLES.get(symbol, ""), 0.0)
            content |= dict(zip(_NAMES[symbol], (magnitude * math.cos(turn), magnitude * math.sin(turn)), strict=False))
    return content
