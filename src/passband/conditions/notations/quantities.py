"""Numbers with their units, as alignment screens show them: `-5.2 nm`, `1.2 mm`, `34 deg`."""

import math
import re
from collections.abc import Callable
from typing import Any

_ANGSTROM = dict.fromkeys(("Å", "A", "angstrom"), 1.0)
_MICRON = dict.fromkeys(("um", "µm", "μm"), 1e4)
_LENGTHS = _ANGSTROM | {"pm": 0.01, "nm": 10.0} | _MICRON | {"mm": 1e7, "m": 1e10}
_ANGLES = {"rad": 1.0, "mrad": 1e-3, "deg": math.pi / 180, "°": math.pi / 180}


def length(name: str, value: Any) -> float:
    """Return a length such as "-5.2 nm" [Å]; ValueError without a number and a unit."""
    return _quantity(name, value, _LENGTHS, "a length with its unit, such as -5.2 nm (Å, nm, um, mm, m)")


def angle(name: str, value: Any) -> float:
    """Return an angle such as "34 deg" [rad]; ValueError without a number and a unit."""
    return _quantity(name, value, _ANGLES, "an angle with its unit, such as 34 deg (deg, rad, mrad)")


def number(name: str, value: Any) -> float:
    """Return a plain finite number; ValueError if it is not one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise ValueError(f"{name} is {str(value)[:100]!r}, which is not a number")
    return float(value)


def parsed(name: str, text: str) -> float:
    """Return the number that a text is; ValueError if it is none."""
    try:
        return float("" if "_" in text else text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, which is not a number") from None


def _quantity(name: str, value: Any, units: dict[str, float], wanted: str) -> float:
    if value == 0 and not isinstance(value, bool):
        return 0.0
    text = value if isinstance(value, str) else ""
    match = re.fullmatch(r"\s*([-+−]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+−]?[0-9]+)?)\s*(\S+)\s*", text)
    if match is None or match[2] not in units:
        raise ValueError(f"{name} is {value!r}; give {wanted}")
    return float(match[1].replace("−", "-")) * units[match[2]]


def once(quantities: dict[str, str]) -> None:
    """Raise ValueError if two names of a file stand for one quantity."""
    first: dict[str, str] = {}
    for name, quantity in quantities.items():
        if quantity in first:
            raise ValueError(f"{first[quantity]} and {name} are the same quantity; keep one of them")
        first[quantity] = name


def renamed(content: dict[str, Any], rename: Callable[[str], str]) -> dict[str, Any]:
    """Return content under other names; ValueError if two names become one."""
    once({name: rename(name) for name in content})
    return {rename(name): value for name, value in content.items()}


def unknown(content: dict[str, Any], known: set[str], notation: str) -> None:
    """Raise ValueError for keys that a notation does not have."""
    for name in content:
        if name not in known:
            raise ValueError(f"unknown key {name!r} in notation {notation}; known are {', '.join(sorted(known))}")
