"""Find the condition that transfers most, or whose |T| is most like another's, by gradient."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from passband.base.frequencies import polar_band
from passband.conditions import ABERRATIONS, ANGLES, Condition
from passband.conditions.condition import canonical
from passband.metrics.band import Q_MAX
from passband.metrics.compare import information
from passband.optics import Parameters, intensity_transfer, stack

#: Steps of the search.
STEPS = 300
# Starts of the search: the best of 16 times as many random candidates.
_STARTS, _RATE = 16, 0.1
_WIDTHS = ("focal_spread_angstrom", "convergence_mrad")


def fit_condition(
    base: Condition,
    names: Sequence[str],
    q_max: float = Q_MAX,
    *,
    target: Condition | None = None,
    progress: Callable[[float], None] = lambda steps: None,
) -> Condition:
    """Return the base condition with some values changed so that ε is largest, or |T| nearest to a target's.

    Adam from the best of many random candidates at once, whose phases differ by tens of radians at the middle of the
    band.

    Args:
        base: start, and all values that are not varied.
        names: defocus_angstrom, aberrations and angles, or (with a target) focal_spread_angstrom, convergence_mrad.
        q_max: radius of the band [1/Å].
        target: whose azimuthal mean of |T| to match in least squares; None maximises ε.
        progress: called after each of `STEPS` steps.

    Raises:
        ValueError: for a name that cannot be fitted, or two names of one value.
    """
    symbols = [canonical(name, 0.0)[0] for name in names]
    for name, symbol in zip(names, symbols, strict=True):
        if symbol not in (*ABERRATIONS, *ANGLES.values(), *_WIDTHS):
            raise ValueError(
                f"cannot fit {name!r}; give defocus_angstrom, an aberration, an angle or {' or '.join(_WIDTHS)}"
            )
        if symbol in _WIDTHS and target is None:
            raise ValueError(f"{name} only damps, so ε is largest without it; fit it to a target")
        if symbols.count(symbol) > 1:
            same = [n for n, s in zip(names, symbols, strict=True) if s == symbol]
            raise ValueError(f"{' and '.join(same)} are the same value; give one")
    progress(0.0)
    parameters = stack([base])
    begin = torch.tensor([_value(base, s) for s in symbols], dtype=torch.float64)
    scale = torch.tensor([_scale(s, base, parameters, q_max) for s in symbols], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    # Half of them near, half far: where C30 is large the best defocus may lie tens of radians away.
    reach = torch.where(torch.arange(16 * _STARTS) % 2 == 0, 10.0, 80.0)[:, None].double()
    spread = reach * (torch.rand(len(reach), len(symbols), generator=generator, dtype=torch.float64) - 0.5)
    # The first is the base itself, slightly shifted: at T = 0 the gradient vanishes.
    spread[0] = 0.01
    is_round = base.is_round and all(s in ("C10", "C30", "C50", *_WIDTHS) for s in symbols)
    qx, qy = polar_band(q_max, 512, 2 if is_round else 48)
    wanted = None if target is None else intensity_transfer(stack([target]), qx, qy).abs().mean(2)

    def cost(z: Tensor) -> Tensor:
        varied = _with(parameters, symbols, begin + scale * z)
        magnitude = (intensity_transfer(varied, qx, qy).abs().square() + 1e-12).sqrt()
        return -magnitude.mean((1, 2)) if wanted is None else (magnitude.mean(2) - wanted).square().mean(1)

    with torch.no_grad():
        costs = torch.cat([cost(part) for part in spread.split(32)])
    z = spread[costs.argsort()[:_STARTS]].clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        cost(z).sum().backward()
        optimizer.step()
        schedule.step()
        progress(1.0)
    with torch.no_grad():
        best = begin + scale * z[cost(z).argmin()]
    values = {}
    for symbol, value in zip(symbols, best.tolist(), strict=True):
        if symbol in ANGLES.values():
            m = ABERRATIONS["C" + symbol[3:]][1]
            value = (value + torch.pi / m) % (2 * torch.pi / m) - torch.pi / m
        values[symbol] = float(f"{abs(value) if symbol in _WIDTHS else value:.6g}")
    result = base.varied(values)
    # A maximum of ε must not be worse than the base.
    worse = target is None and information([result], q_max) < information([base], q_max)
    return base if worse else result


def _value(condition: Condition, symbol: str) -> float:
    return float(getattr(condition, symbol) if symbol in _WIDTHS else condition.aberrations.get(symbol, 0.0))


def _scale(symbol: str, base: Condition, parameters: Parameters, q_max: float) -> float:
    """Return the change of a value that turns the phase by a radian at 0.6 q_max, or is a natural unit of its width."""
    if symbol in _WIDTHS:
        return max(0.1 * _value(base, symbol), 5.0 if symbol == "focal_spread_angstrom" else 0.05)
    if symbol not in ABERRATIONS:
        return 0.3
    n, _ = ABERRATIONS[symbol]
    lam = float(parameters.wavelength[0])
    return (n + 1) * lam / (2 * torch.pi * (lam * 0.6 * q_max) ** (n + 1))


def _with(parameters: Parameters, symbols: Sequence[str], values: Tensor) -> Parameters:
    """Return as many conditions as there are rows of values."""
    many = parameters.repeat(len(values))
    coefficients, angles, widths = dict(many.coefficients), dict(many.angles), {}
    for i, symbol in enumerate(symbols):
        if symbol in ABERRATIONS:
            coefficients[symbol] = values[:, i]
        elif symbol in _WIDTHS:
            widths[symbol] = values[:, i]
        else:
            angles["C" + symbol[3:]] = values[:, i]
    return replace(many, coefficients=coefficients, angles=angles, **widths)
