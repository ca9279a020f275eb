"""Units as files of microscopes spell them."""

import math
import re

_NAMES = {
    1.0: "Å A Ang angstrom angstroms ångström",
    0.01: "pm picometer",
    10.0: "nm nanometer nanometers",
    1e4: "µm um micron microns micrometer",
    1e7: "mm",
    1e8: "cm",
    2.54e8: "inch",
    1e10: "m",
}
_ANGSTROM = {name: length for length, names in _NAMES.items() for name in names.split()}
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
