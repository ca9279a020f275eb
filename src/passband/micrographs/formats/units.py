"""Units as files of microscopes spell them."""

import html
import math
import re
import unicodedata

# Powers of ten of SI prefixes and their names; all units of length that OME-TIFF knows follow from them.
_PREFIXES = {
    "Y": 24, "Z": 21, "E": 18, "P": 15, "T": 12, "G": 9, "M": 6, "k": 3, "h": 2, "da": 1, "": 0, "d": -1, "c": -2, "m": -3,
    "µ": -6, "u": -6, "n": -9, "p": -12, "f": -15, "a": -18, "z": -21, "y": -24,
}  # fmt: skip
_PREFIX_NAMES = {"": 0, "centi": -2, "milli": -3, "micro": -6, "nano": -9, "pico": -12, "femto": -15}
_INCH = 2.54e8
_ANGSTROM = (
    {prefix + "m": 10.0 ** (power + 10) for prefix, power in _PREFIXES.items()}
    | {n + metre: 10.0 ** (power + 10) for n, power in _PREFIX_NAMES.items() for metre in ("meter", "metre")}
    | dict.fromkeys(("Å", "å", "A", "Ang", "ang", "angstrom", "angstroem", "ångström", "angström", "ångstrom"), 1.0)
    | {"micron": 1e4, "NM": 10.0, "Nm": 10.0, "UM": 1e4}
    | {"inch": _INCH, "inche": _INCH, "in": _INCH, "thou": _INCH / 1e3, "li": _INCH / 12, "pt": _INCH / 72}
    | {"ft": 12 * _INCH, "yd": 36 * _INCH, "mi": 63_360 * _INCH}
    | {"ua": 1.495978707e21, "ly": 9.4607304725808e25, "pc": 3.0856775814913673e26}
)
_SECONDS = dict.fromkeys(("s", "sec", "second", "seconds"), 1.0)
_SECONDS |= {"ms": 1e-3, "µs": 1e-6, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0}
_NONE = ("", "none", "undefined", "<undefined>", "px", "pix", "pixel", "pixels", "reference frame")
_PER_PIXEL = re.compile(r"^(.*[^\W\d_])\s*(?:(?:/|\bper\b)\s*(?:px|pix(?:el)?s?)|[ ·.]?pix(?:el)?s?\s*\^?[-−⁻][1¹])$")
_RECIPROCAL = re.compile(
    r"^1\s*/|^(reciprocal|inverse|per)\s|^(?!pix|px).*(/|\bper)\s*(Å|A|nm|pm|µm|um|m|angstroms?|nanomet(er|re)s?)$"
    r"|(\^|\*\*)?\s*[-−⁻]\s*[1¹]$|^(m|µ|u|n|milli|micro)?rad(ian)?s?$"
)
_VOLTAGE = re.compile(r"^\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(k?)(?:V|eV)?\s*$")


def tidy(units: object) -> str:
    """Return a unit in one spelling, without "per pixel"; empty for anything but the text of a unit."""
    if isinstance(units, bytes):
        units = units.decode("latin-1")
    if not isinstance(units, str):
        return ""
    # ImageJ and XML escape characters; Unicode has several code points for µ and Å; NCEM writes n_m.
    units = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), html.unescape(units[:200]))
    units = unicodedata.normalize("NFC", units).replace("\u03bc", "µ").replace("_", "").strip(" []()\"'\x00\t")
    per_pixel = _PER_PIXEL.match(units)
    units = per_pixel[1] if per_pixel else units
    return "" if units.lower() in _NONE else units[:40]


def in_angstrom(units: str) -> float | None:
    """Return how many Å a tidy unit has, or None if it is no length."""
    # Long names in any case and in the plural; of short ones the case counts: mm and Mm.
    name = units if len(units) < 3 else units.lower().removesuffix("s")
    return _ANGSTROM.get(units, _ANGSTROM.get(name))


def is_reciprocal(units: str) -> bool:
    """Return whether a tidy unit is of reciprocal space or an angle."""
    return _RECIPROCAL.search(units) is not None


def is_time(units: str) -> bool:
    """Return whether a tidy unit is of time."""
    return units.lower() in _SECONDS


def in_seconds(units: str) -> float | None:
    """Return how many seconds a tidy unit has, or None if it is no time."""
    return _SECONDS.get(units.lower())


def energy_ev(value: object) -> float | None:
    """Return an accelerating voltage as energy [eV]: a number of volts, or a text such as 300kV."""
    match = _VOLTAGE.match(value.decode("latin-1") if isinstance(value, bytes) else str(value)[:100])
    try:
        number = float(match[1]) * (1e3 if match[2] else 1.0) if match else math.nan
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
