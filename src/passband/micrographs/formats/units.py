"""Units as files of microscopes spell them."""

import math
import re

_ANGSTROM = {
    "Å": 1.0,
    "A": 1.0,
    "Ang": 1.0,
    "angstrom": 1.0,
    "angstroms": 1.0,
    "ångström": 1.0,
    "pm": 0.01,
    "picometer": 0.01,
    "nm": 10.0,
    "nanometer": 10.0,
    "nanometers": 10.0,
    "µm": 1e4,
    "um": 1e4,
    "micron": 1e4,
    "microns": 1e4,
    "micrometer": 1e4,
    "mm": 1e7,
    "cm": 1e8,
    "inch": 2.54e8,
    "m": 1e10,
}
_TIME = {"s", "sec", "second", "seconds", "ms", "µs", "us", "ns", "min", "h"}
_RECIPROCAL = re.compile(r"^1\s*/|/\s*(Å|A|nm|pm|µm|m|px)$|(\^|\*\*)?\s*[-−]\s*1$|^[mµu]?rad$")
_VOLTAGE = re.compile(r"^\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(k?)(?:V|eV)?\s*$")


def tidy(units: object) -> str:
    """Return a unit in one spelling; empty for anything but a text."""
    if isinstance(units, bytes):
        units = units.decode("latin-1")
    if not isinstance(units, str):
        return ""
    # ImageJ escapes non-ASCII characters; Unicode has two code points each for µ and Å.
    units = units.replace("\\u00B5", "µ").replace("\\u00b5", "µ").replace("\\u00C5", "Å").replace("\\u00c5", "Å")
    units = units.replace("\u03bc", "µ").replace("\u212b", "Å").strip(" []\x00")
    return "" if units.lower() in ("", "none", "<undefined>", "px", "pixel", "pixels") else units[:40]


def in_angstrom(units: str) -> float | None:
    """Return how many Å a tidy unit has, or None if it is no length."""
    return _ANGSTROM.get(units, _ANGSTROM.get(units.lower() if len(units) > 2 else units))


def is_reciprocal(units: str) -> bool:
    """Return whether a tidy unit is of reciprocal space or an angle."""
    return _RECIPROCAL.search(units) is not None


def is_energy(units: str) -> bool:
    """Return whether a tidy unit is of energy, as the axis of a spectrum has."""
    return units in ("eV", "keV", "meV")


def is_time(units: str) -> bool:
    """Return whether a tidy unit is of time."""
    return units.lower() in _TIME


def energy_ev(value: object) -> float | None:
    """Return an accelerating voltage as energy [eV]: a number of volts, or a text such as 300kV."""
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    match = _VOLTAGE.match(str(value))
    if match is None:
        return None
    try:
        number = float(match[1]) * (1e3 if match[2] else 1.0)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
