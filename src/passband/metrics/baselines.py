"""Baselines for every other metric: distances of the conditions' values, without any contrast transfer; shape [B, B′]."""

import torch
from torch import Tensor

from passband.conditions import ABERRATIONS
from passband.optics import Parameters


def defocus_difference(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return |defocus′ − defocus| [Å]."""
    a, b = (p.coefficients.get("C10", 0 * p.energy_ev) for p in (train, test))
    return (a[:, None] - b).abs()


def dose_difference(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return ln(dose′ / dose), test over train; no shot noise counts as 1e9 e/Å²."""
    a, b = (p.finite_dose.log() for p in (train, test))
    return b - a[:, None]


def coefficient_distance(train: Parameters, test: Parameters, q_max: float) -> Tensor:
    """Return the Euclidean distance of the conditions' values, each in units of its spread over all of them.

    The values: Cartesian aberration coefficients, energy, focal spread, convergence and log dose. A value that is the same in
    all conditions does not count.
    """
    symbols = [s for s in ABERRATIONS if s in train.coefficients or s in test.coefficients]
    a, b = _values(train, symbols), _values(test, symbols)
    spread = torch.cat([a, b]).std(0, correction=0)
    scale = torch.where(spread > 1e-9 * torch.cat([a, b]).abs().amax(0).clamp_min(1e-30), spread, torch.inf)
    return torch.cdist(a / scale, b / scale)


def _values(parameters: Parameters, symbols: list[str]) -> Tensor:
    columns = [parameters.energy_ev, parameters.focal_spread_angstrom, parameters.convergence_mrad]
    columns.append(parameters.finite_dose.log())
    zero = 0 * parameters.energy_ev
    for symbol in symbols:
        magnitude = parameters.coefficients.get(symbol, zero)
        angle = ABERRATIONS[symbol][1] * parameters.angles.get(symbol, zero)
        columns += [magnitude * torch.cos(angle), magnitude * torch.sin(angle)]
    return torch.stack(columns, 1)
