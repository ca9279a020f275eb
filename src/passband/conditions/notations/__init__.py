"""Other programs' notations of aberrations, read into and written from passband's.

Each module has `read(content) -> fields of a condition file` and `write(condition) -> content`. The tests compare phase
surfaces, never coefficients.
"""

from types import ModuleType

from passband.conditions.notations import abtem, ceos, ctffind, krivanek, nexus, prismatic

#: By the name that a file's `notation` key gives.
NOTATIONS: dict[str, ModuleType] = {
    "krivanek": krivanek,
    "ceos": ceos,
    "prismatic": prismatic,
    "ctffind": ctffind,
    "abtem": abtem,
    "nexus": nexus,
}

__all__ = ["NOTATIONS"]
