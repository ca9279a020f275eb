"""Electron scattering factors of neutral atoms, Lobato and Van Dyck, Acta Cryst. A70 (2014) 636."""

import functools
import json
import math
from importlib import resources

import torch
from ase.data import chemical_symbols
from scipy import constants
from torch import Tensor

from passband.base.errors import BadInputError

#: h² / (2π m e) [V Å²]: turns a scattering factor [Å] into the Fourier transform of the potential [V Å³].
POTENTIAL = constants.h**2 / (2 * math.pi * constants.m_e * constants.e) * 1e20


def scattering_factor(number: int, q2: Tensor) -> Tensor:
    """Return the Fourier transform of an atom's potential [V Å³] at |q|² [1/Å²] of any shape; raises as `parameters` does.

    f(q) = Σ_i a_i (2 + b_i q²) / (1 + b_i q²)² (eq. 16), times h² / (2π m e).
    """
    a, b = (torch.tensor(values, dtype=q2.dtype, device=q2.device) for values in parameters(number))
    x = b * q2[..., None]
    return POTENTIAL * (a * (2 + x) / (1 + x) ** 2).sum(-1)


def parameters(number: int) -> tuple[list[float], list[float]]:
    """Return the five a_i [Å] and the five b_i [Å²] of an element, atomic number 1 to 103; BadInputError beyond."""
    symbol = chemical_symbols[number]
    if symbol not in _table():
        raise BadInputError(f"element {symbol}: has no scattering factor; the table of Lobato and Van Dyck ends at Lr")
    a, b = _table()[symbol]
    return a, b


@functools.cache
def _table() -> dict[str, list[list[float]]]:
    text = resources.files("passband.specimens").joinpath("lobato_van_dyck.json").read_text(encoding="utf-8")
    table: dict[str, list[list[float]]] = json.loads(text)["elements"]
    return table
