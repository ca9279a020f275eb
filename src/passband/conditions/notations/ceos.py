"""CEOS notation: C1, A1, B2, A2, C3, S3, A3, B4, D4, A4, C5, S5, R5, A5, as the correctors' software shows them.

χ = (2π/λ) Re{½ C1 ωω̄ + ½ A1 ω̄² + B2 ω²ω̄ + ⅓ A2 ω̄³ + ¼ C3 (ωω̄)² + S3 ω³ω̄ + ¼ A3 ω̄⁴ + B4 ω³ω̄² + D4 ω⁴ω̄ + ⅕ A4 ω̄⁵
+ ⅙ C5 (ωω̄)³ + S5 ω⁴ω̄² + R5 ω⁵ω̄ + ⅙ A5 ω̄⁶}, ω = α exp(iφ): B, S, D and R carry no 1/(n + 1), so C21 = 3 B2, C32 = 4 S3 and
so on, and their arguments count the other way round. Source: Uhlemann and Haider, Ultramicroscopy 72 (1998) 109; the
factors also in the documentation of Dr. Probe. Programs differ in what angle they show: `angles: argument` (default) is the
argument of the complex coefficient, `angles: azimuth` the direction in which the aberration is largest.
"""

import cmath
from typing import Any

from passband.conditions.condition import ABERRATIONS, ANGLES, Condition
from passband.conditions.notations.quantities import angle, length, renamed, unknown

# Symbol, factor of its prefactor, direction in which its argument counts.
_TERMS = {
    "C1": ("C10", 1, 1), "A1": ("C12", 1, 1), "B2": ("C21", 3, -1), "A2": ("C23", 1, 1), "C3": ("C30", 1, 1),
    "S3": ("C32", 4, -1), "A3": ("C34", 1, 1), "B4": ("C41", 5, -1), "D4": ("C43", 5, -1), "A4": ("C45", 1, 1),
    "C5": ("C50", 1, 1), "S5": ("C52", 6, -1), "R5": ("C54", 6, -1), "A5": ("C56", 1, 1),
}  # fmt: skip


def read(content: dict[str, Any]) -> dict[str, Any]:
    """Return `aberrations` from entries such as `C1: -5.2 nm` and `A1: 2.1 nm, 34 deg`; D5 is another name of R5.

    ValueError on unknown names or missing units.
    """
    content = renamed(content, lambda name: {"D5": "R5"}.get(name, name))
    unknown(content, {*_TERMS, "angles"}, "ceos")
    shown = content.pop("angles", "argument")
    if shown not in ("argument", "azimuth"):
        raise ValueError(f"angles is {shown!r}; write argument (of the complex coefficient) or azimuth (direction)")
    aberrations = {}
    for name, value in content.items():
        symbol, factor, sense = _TERMS[name]
        parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else [value]
        if len(parts) > (2 if symbol in ANGLES else 1):
            raise ValueError(f"{name} is {value!r}; write {'2.1 nm, 34 deg' if symbol in ANGLES else '-5.2 nm'}")
        aberrations[symbol] = factor * length(name, parts[0])
        if len(parts) == 2:
            turn = angle(f"the angle of {name}", parts[1])
            aberrations[ANGLES[symbol]] = turn if shown == "azimuth" else sense * turn / ABERRATIONS[symbol][1]
    return {"aberrations": aberrations}


def write(condition: Condition) -> dict[str, Any]:
    """Return the coefficients that are not zero, in nm and degrees of the argument."""
    content = {}
    for name, (symbol, factor, sense) in _TERMS.items():
        magnitude = condition.aberrations.get(symbol, 0.0) / factor
        if magnitude == 0:
            continue
        if symbol not in ANGLES:
            content[name] = f"{magnitude / 10:.10g} nm"
            continue
        turn = sense * ABERRATIONS[symbol][1] * condition.aberrations.get(ANGLES[symbol], 0.0)
        size, argument = cmath.polar(cmath.rect(magnitude, turn))
        content[name] = f"{size / 10:.10g} nm, {argument * 180 / cmath.pi:.10g} deg"
    return content
