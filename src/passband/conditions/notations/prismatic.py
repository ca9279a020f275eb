"""Prismatic: C1, C3, C5 [Å] with C1 = +C10 (positive is over focus), and rows `m n mag angle` of further aberrations.

χ += mag · (λq)^m cos(n (θ − angle)), mag in radians of phase, angle in degrees; exp(−iχ) as in passband. Here m is the
power of the angle and n the multiplicity. Source: prism-em/prismatic, src/aberration.cpp; where a row repeats C1, C3 or C5,
Prismatic adds both, and so does this.
"""

import math
from typing import Any

from passband.base.electron import wavelength
from passband.conditions.condition import ABERRATIONS, ANGLES, Condition
from passband.conditions.notations.krivanek import cartesian, polar
from passband.conditions.notations.quantities import number, unknown

_ROUND = {"C1": "C10", "C3": "C30", "C5": "C50"}
NEEDS = ("energy_ev",)
_BY_ORDER = {(n + 1, m): symbol for symbol, (n, m) in ABERRATIONS.items()}


def read(content: dict[str, Any]) -> dict[str, Any]:
    """Return `aberrations` from C1, C3, C5 [Å] and `aberrations`, a list of [m, n, mag, angle] that needs energy_ev.

    ValueError on unknown names, orders beyond the fifth, or rows that are not four numbers.
    """
    unknown(content, {*_ROUND, "aberrations", "energy_ev"}, "prismatic")
    total = {_ROUND[name]: [number(name, content[name]), 0.0] for name in _ROUND if name in content}
    rows = content.get("aberrations", [])
    for row in rows if isinstance(rows, list) else [rows]:
        if not isinstance(row, list) or len(row) != 4:
            raise ValueError(f"aberrations has the row {row!r}; write [m, n, mag, angle in degrees]")
        m, n, size, turn = (number("aberrations", value) for value in row)
        symbol = _BY_ORDER.get((int(m), int(n)))
        if symbol is None or m != int(m) or n != int(n):
            raise ValueError(f"aberrations has m = {m:g}, n = {n:g}, which is none of {sorted(_BY_ORDER)}")
        magnitude = size * wavelength(number("energy_ev", content.get("energy_ev"))) * m / (2 * math.pi)
        part = total.setdefault(symbol, [0.0, 0.0])
        part[0] += magnitude * math.cos(n * math.radians(turn))
        part[1] += magnitude * math.sin(n * math.radians(turn))
    aberrations: dict[str, float] = {}
    for symbol, parts in total.items():
        aberrations |= polar(symbol, parts if symbol in ANGLES else parts[:1])
    return {"aberrations": aberrations}


def write(condition: Condition) -> dict[str, Any]:
    """Return C1, C3, C5 [Å] and the rows of all others."""
    content: dict[str, Any] = {n: condition.aberrations[s] for n, s in _ROUND.items() if s in condition.aberrations}
    rows = []
    parts = cartesian(condition)
    for symbol, (n, m) in ABERRATIONS.items():
        if symbol in ANGLES and symbol in condition.aberrations:
            x, y = parts[symbol + "a"], parts[symbol + "b"]
            size = 2 * math.pi / (wavelength(condition.energy_ev) * (n + 1)) * math.hypot(x, y)
            rows.append([n + 1, m, size, math.degrees(math.atan2(y, x) / m)])
    return content | ({"aberrations": rows} if rows else {})
