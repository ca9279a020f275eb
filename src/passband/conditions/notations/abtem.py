"""abTEM's and quantem's dictionaries: passband's symbols, with other widths and Cartesian names.

abTEM's `focal_spread` [Å] and `angular_spread` [mrad] are 1/e widths, √2 times the standard deviation, whatever its texts
say; `semiangle_cutoff` [mrad] is the aperture and `energy` [eV]. quantem writes C12_a and C12_b for Cartesian parts.
Sources: abtem/transfer.py (1.0.11), quantem's diffractive_imaging/complex_probe.py.
"""

import math
from typing import Any

from passband.conditions.condition import ABERRATIONS, ALIASES, ANGLES, Condition, canonical
from passband.conditions.notations.krivanek import polar
from passband.conditions.notations.quantities import number, unknown

_MORE = {"quadrafoil": "C34", "astigmatism3": "C32", "astigmatism5": "C52", "coma4": "C41", "trefoil4": "C43",
         "quadrafoil5": "C54", "pentafoil": "C45", "hexafoil": "C56"}  # fmt: skip
_NAMES = _MORE | {f"{name}_angle": ANGLES[symbol] for name, symbol in _MORE.items()} | ALIASES
_PARTS = {f"{s}_{part}": (s, i) for s in ANGLES for i, part in enumerate("ab")}
_OPTICS = {"energy", "semiangle_cutoff", "focal_spread", "angular_spread"}


def read(content: dict[str, Any]) -> dict[str, Any]:
    """Return fields of a condition from the keywords of abTEM's CTF, or quantem's dictionary.

    Raises:
        ValueError: on unknown names or values that are not numbers.
    """
    symbols = {*ABERRATIONS, *ANGLES.values(), *_NAMES, "defocus"}
    unknown(content, symbols | set(_PARTS) | _OPTICS | {"energy_ev"}, "abtem")
    values = {name: number(name, value) for name, value in content.items()}
    aberrations = {}
    for name in symbols & set(values):
        symbol, value = canonical(_NAMES.get(name, name), values[name])
        aberrations[symbol] = value
    for symbol in {_PARTS[name][0] for name in _PARTS if name in values}:
        aberrations |= polar(symbol, [values.get(f"{symbol}_{part}", 0.0) for part in "ab"])
    fields: dict[str, Any] = {"aberrations": aberrations}
    if "energy" in values:
        fields["energy_ev"] = values["energy"]
    if math.isfinite(values.get("semiangle_cutoff", math.inf)):
        fields["aperture_mrad"] = values["semiangle_cutoff"]
    for theirs, ours in (("focal_spread", "focal_spread_angstrom"), ("angular_spread", "convergence_mrad")):
        if theirs in values:
            fields[ours] = values[theirs] / math.sqrt(2)
    return fields


def write(condition: Condition) -> dict[str, Any]:
    """Return keywords for abTEM's CTF; without the widths it is quantem's dictionary."""
    content: dict[str, Any] = {"energy": condition.energy_ev, **condition.aberrations}
    if condition.aperture_mrad is not None:
        content["semiangle_cutoff"] = condition.aperture_mrad
    if condition.focal_spread_angstrom:
        content["focal_spread"] = math.sqrt(2) * condition.focal_spread_angstrom
    if condition.convergence_mrad:
        content["angular_spread"] = math.sqrt(2) * condition.convergence_mrad
    return content
