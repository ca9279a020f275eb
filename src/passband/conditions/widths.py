"""Widths as microscopists know them, and the standard deviations that a condition is written in.

The spread of the focus from the chromatic aberration C_c, all widths standard deviations:

Δ = C_c √(k² (ΔE/E)² + k² (ΔV/V)² + (2 ΔI/I)²),  k = (1 + E/E₀) / (1 + E/2E₀),  E₀ = m c²

The focal length of a magnetic lens follows I² / V*, with the relativistic voltage V* = V (1 + E/2E₀); C_c is the change of focus for a
relative change of V*, and ΔV*/V* = k ΔV/V. Sources: Kirkland, Advanced Computing in Electron Microscopy (2020), defocus spread, for the sum; Reimer and Kohl,
Transmission Electron Microscopy (2008), chromatic aberration, for k, which is 1.16 at 200 kV and 1.23 at 300 kV.
"""

import math
from typing import Any

from passband.base.electron import chromatic_factor

_FWHM, _ONE_OVER_E = 2 * math.sqrt(2 * math.log(2)), math.sqrt(2)
# A width by name: the field that it stands for, and how many of its standard deviations it is.
_SCALED = {
    "focal_spread_fwhm_angstrom": ("focal_spread_angstrom", _FWHM),
    "focal_spread_1_over_e_angstrom": ("focal_spread_angstrom", _ONE_OVER_E),
    "convergence_fwhm_mrad": ("convergence_mrad", _FWHM),
    "convergence_1_over_e_mrad": ("convergence_mrad", _ONE_OVER_E),
    # The variance along an axis of a uniform disc of radius a is a² / 4.
    "convergence_semiangle_mrad": ("convergence_mrad", 2.0),
}
_CC = "chromatic_aberration_angstrom"
_ENERGY_SPREADS = {"energy_spread_ev": 1.0, "energy_spread_fwhm_ev": _FWHM}
_INSTABILITIES = {"voltage_instability": 1.0, "current_instability": 2.0}
#: Largest value of what gives the focal spread together.
_LARGEST = {_CC: 1e9, **dict.fromkeys(_ENERGY_SPREADS, 100.0), **dict.fromkeys(_INSTABILITIES, 1e-3)}
# Smaller chromatic aberrations [Å] but zero are taken for mm.
_LEAST_CC = 1e4
#: Names accepted on input beside the fields of a condition, and the field that each gives.
WIDTHS: dict[str, str] = {name: field for name, (field, _) in _SCALED.items()} | dict.fromkeys(
    _LARGEST, "focal_spread_angstrom"
)


def in_standard_deviations(content: dict[str, Any]) -> dict[str, Any]:
    """Return the content of a condition file with each of WIDTHS replaced by its field.

    ValueError if one is no number or out of range, if two give the same field, or if part of a focal spread is missing.
    """
    given = {name: _number(name, value) for name, value in content.items() if name in WIDTHS}
    if not given:
        return content
    rest = {name: value for name, value in content.items() if name not in WIDTHS}
    for field in dict.fromkeys(WIDTHS[name] for name in given):
        names = [name for name in given if WIDTHS[name] == field]
        parts = [name for name in names if name in _LARGEST]
        ways = [*([field] if field in content else []), *(n for n in names if n not in parts), *parts[:1]]
        if len(ways) > 1:
            raise ValueError(f"{ways[0]} and {ways[1]} both give {field}; keep one of them")
        if not parts:
            rest[field] = given[names[0]] / _SCALED[names[0]][1]
        elif isinstance(energy := content.get("energy_ev"), int | float) and 0 < energy < math.inf:
            # What is wrong with another energy is said where it is checked.
            rest[field] = _focal_spread(given, energy)
    return rest


def _focal_spread(given: dict[str, float], energy_ev: float) -> float:
    """Return the standard deviation of the focus [Å] from the chromatic aberration and what varies."""
    spreads = [name for name in _ENERGY_SPREADS if name in given]
    if len(spreads) > 1:
        raise ValueError(f"{' and '.join(spreads)} both give the energy spread; keep one of them")
    if _CC not in given or not spreads:
        missing = _CC if _CC not in given else "energy_spread_fwhm_ev or energy_spread_ev"
        raise ValueError(f"{next(n for n in given if n in _LARGEST)} gives a focal spread only with {missing}; add it")
    k = chromatic_factor(energy_ev)
    energy = given[spreads[0]] / _ENERGY_SPREADS[spreads[0]] / energy_ev
    voltage, current = (factor * given.get(name, 0.0) for name, factor in _INSTABILITIES.items())
    return given[_CC] * math.hypot(k * energy, k * voltage, current)


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{name} is {str(value)[:100]!r}; give a number, 0 or more, without quotes")
    largest = _LARGEST.get(name, math.inf)
    if name == _CC and 0 < value < _LEAST_CC:
        raise ValueError(f"{name} is {value:g} Å, next to none; is it in mm? {value:g} mm is {1e7 * value:g} Å")
    if value > largest:
        hint = f"is it in ppm? {value:g} ppm is {1e-6 * value:g}" if name in _INSTABILITIES else "correct it"
        raise ValueError(f"{name} is {value:g}, above {largest:g}; {hint}")
    return float(value)
