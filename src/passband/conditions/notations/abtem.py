"""abTEM's and quantem's dictionaries: passband's symbols, with other widths and Cartesian names.

abTEM's `focal_spread` [Å] and `angular_spread` [mrad] are 1/e widths, √2 times the standard deviation, whatever its texts
say; `semiangle_cutoff` [mrad] is the aperture and `energy` [eV]. quantem writes C12_a and C12_b for Cartesian parts.
Sources: abtem/transfer.py (1.0.11), quantem's diffractive_imaging/complex_probe.py.
"""

import math
from typing import Any

from passband.conditions.condition import ABERRATIONS, ALIASES, ANGLES, Condition, canonical
from passband.conditions.notations.krivanek import polar
from passband.conditions.notations.quantities import number, once, unknown

_MORE = {"quadrafoil": "C34", "astigmatism3": "C32", "astigmatism5": "C52", "coma4": "C41", "trefoil4": "C43",
         "quadrafoil5": "C54", "pentafoil": "C45", "hexafoil": "C56"}  # fmt: skip
_NAMES = _MORE | {f"{name}_angle": ANGLES[symbol] for name, symbol in _MORE.items()} | ALIASES
_PARTS = {f"{s}_{part}": s for s in ANGLES for part in "ab"}
_OPTICS = {
    "energy": "energy_ev",
    "semiangle_cutoff": "aperture_mrad",
    "focal_spread": "focal_spread_angstrom",
    "angular_spread": "convergence_mrad",
}
FIELDS = tuple(_OPTICS.values())


def read(content: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a condition from the keywords of abTEM's CTF, or quantem's dictionary.

    ValueError on unknown names, values that are not numbers, or one quantity under two names.
    """
    unknown(content, {*ABERRATIONS, *ANGLES.values(), *_NAMES, "defocus", *_PARTS, *_OPTICS}, "abtem")
    # abTEM's default, infinity, is no aperture.
    values = {n: number(n, v) for n, v in content.items() if (n, v) != ("semiangle_cutoff", math.inf)}
    symbols = {n: canonical(_NAMES.get(n, n), 0.0)[0] for n in values if n not in _PARTS}
    once(symbols)
    for part, symbol in _PARTS.items():
        polar_names = [n for n, s in symbols.items() if s in (symbol, ANGLES[symbol])]
        if part in values and polar_names:
            raise ValueError(f"{part} and {polar_names[0]} both give {symbol}; keep one of the two forms")
    aberrations = dict(canonical(_NAMES.get(n, n), v) for n, v in values.items() if n not in (*_PARTS, *_OPTICS))
    for symbol in dict.fromkeys(_PARTS[name] for name in values if name in _PARTS):
        aberrations |= polar(symbol, [values.get(f"{symbol}_{part}", 0.0) for part in "ab"])
    fields: dict[str, Any] = {ours: values[theirs] for theirs, ours in _OPTICS.items() if theirs in values}
    for name in fields.keys() & {"focal_spread_angstrom", "convergence_mrad"}:
        fields[name] /= math.sqrt(2)
    return fields | {"aberrations": aberrations}


def write(condition: Condition) -> dict[str, Any]:
    """Return keywords for abTEM's CTF; without the widths it is quantem's dictionary."""
    optics = {
        "semiangle_cutoff": condition.aperture_mrad,
        "focal_spread": math.sqrt(2) * condition.focal_spread_angstrom,
        "angular_spread": math.sqrt(2) * condition.convergence_mrad,
    }
    given = {name: value for name, value in optics.items() if value}
    return {"energy": condition.energy_ev, **condition.aberrations, **given}
