"""NeXus field names: the aberrations of NXcorrector_cs (`model: nion` or `model: ceos`), each with its unit.

nion: c_1_0, c_1_2_a, c_1_2_b, …, Krivanek's Cartesian notation. ceos: c_1, a_1, b_2, …, a_6 (which is A5), a magnitude and
an angle each. Source: the NeXus definitions NXcorrector_cs and NXaberration, which give names and no formula; the formulas
taken here are those of `krivanek` and `ceos`.
"""

import re
from typing import Any

from passband.conditions.condition import Condition
from passband.conditions.notations import ceos, krivanek
from passband.conditions.notations.quantities import renamed


def read(content: dict[str, Any]) -> dict[str, Any]:
    """Return `aberrations` from `model` and entries such as `c_1_2_a: 1.5 nm` or `a_1: 2.1 nm, 34 deg`.

    ValueError on another model, unknown names or missing units.
    """
    content = dict(content)
    model = content.pop("model", "nion")
    if model not in ("nion", "ceos"):
        raise ValueError(f"model is {model!r}; NeXus knows nion and ceos")
    return krivanek.read(renamed(content, _to_nion)) if model == "nion" else ceos.read(renamed(content, _to_ceos))


def write(condition: Condition) -> dict[str, Any]:
    """Return the coefficients that are not zero, in the model nion."""
    return {"model": "nion"} | {
        re.sub(r"C(\d)(\d)([ab]?)", lambda m: f"c_{m[1]}_{m[2]}" + (f"_{m[3]}" if m[3] else ""), name): value
        for name, value in krivanek.write(condition).items()
    }


def _to_nion(name: str) -> str:
    return re.sub(r"^c_(\d)_(\d)(?:_([ab]))?$", lambda m: f"C{m[1]}{m[2]}{m[3] or ''}", name)


def _to_ceos(name: str) -> str:
    # The definition has a_6 and no a_5: the sixfold A5.
    return {"a_6": "A5"}.get(name, re.sub(r"^([abcdrs])_(\d)$", lambda m: f"{m[1].upper()}{m[2]}", name))
