"""Other programs' notations of aberrations, read into and written from passband's.

Each module has `read(content) -> fields of a condition file` and `write(condition) -> content`; where they apply, also `FIELDS`
(fields of a condition that the notation has names of its own for), `NEEDS` (fields of a condition that `read` also takes) and
`doubts(content)` (what of a valid content looks wrong, a line each). The tests compare phase surfaces, never coefficients.
"""

from types import ModuleType

from passband.conditions.notations import abtem, ceos, ctffind, krivanek, nexus, prismatic

#: By the name that a file's `notation` key gives.
NOTATIONS: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module for module in (krivanek, ceos, prismatic, ctffind, abtem, nexus)
}
