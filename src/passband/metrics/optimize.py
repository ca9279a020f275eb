"""Find the condition that transfers most, or whose |T| is most like another's, by gradient."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from passband.base.frequencies import polar_band
from passband.conditions import ABERRATIONS, ANGLES, Condition
from passband.conditions.condition import canonical
from passband.metrics.band import Q_MAX
from passband.metrics.compare import information
from passband.optics import Parameters, intensity_transfer, stack

# Starts of the search, the best of many random candidates, and how many of their ends are searched from again on the fine band.
_CANDIDATES, _STARTS, _POLISHED = 512, 24, 6
#: Steps of the search.
STEPS = _STARTS + _POLISHED
# Rings and directions of the two bands; where directions do not matter there are two, and room for more rings.
_COARSE, _FINE = (160, 24), (512, 48)
_ROUND = 4
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

    L-BFGS from the best of many random candidates, whose phases differ by tens of radians at the middle of the band: on a
    coarse band first, then from the best ends on a fine one.

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
    is_round = base.is_round and all(s in ("C10", "C30", "C50", *_WIDTHS) for s in symbols)

    def cost_on(rings: int, directions: int) -> Callable[[Tensor], Tensor]:
        """Return the cost of values [N, names] on a band of so many nodes, shape [N]."""
        qx, qy = polar_band(q_max, _ROUND * rings, 2) if is_round else polar_band(q_max, rings, directions)
        wanted = None if target is None else intensity_transfer(stack([target]), qx, qy).abs().mean(2)

        def cost(z: Tensor) -> Tensor:
            varied = _with(parameters, symbols, begin + scale * z)
            magnitude = (intensity_transfer(varied, qx, qy).abs().square() + 1e-12).sqrt()
            return -magnitude.mean((1, 2)) if wanted is None else (magnitude.mean(2) - wanted).square().mean(1)

        return cost

    coarse, fine = cost_on(*_COARSE), cost_on(*_FINE)
    spread = _candidates(len(symbols))
    with torch.no_grad():
        costs = torch.cat([coarse(part) for part in spread.split(32)])
    found = []
    for start in spread[costs.argsort()[:_STARTS]]:
        found.append(_descend(coarse, start))
        progress(1.0)
    found.sort(key=lambda end: end[0])
    # The coarse band may prefer another of several that are nearly as good.
    polished = []
    for _, start in found[:_POLISHED]:
        polished.append(_descend(fine, start))
        progress(1.0)
    ends = [_varied(base, symbols, begin + scale * z) for _, z in polished]
    if target is not None:
        return ends[min(range(len(ends)), key=lambda i: polished[i][0])]
    # A maximum of ε must not be worse than the base.
    return [base, *ends][int(information([base, *ends], q_max).argmax())]


def _varied(base: Condition, symbols: Sequence[str], best: Tensor) -> Condition:
    """Return the condition with these values, to six digits, angles in their period."""
    values = {}
    for symbol, value in zip(symbols, best.tolist(), strict=True):
        if symbol in ANGLES.values():
            m = ABERRATIONS["C" + symbol[3:]][1]
            value = (value + torch.pi / m) % (2 * torch.pi / m) - torch.pi / m
        values[symbol] = float(f"{abs(value) if symbol in _WIDTHS else value:.6g}")
    return base.varied(values)


def _candidates(count: int) -> Tensor:
    """Return random changes of `count` values in their units, shape [N, count]; the first is nearly none."""
    generator = torch.Generator().manual_seed(0)
    # Half of them near, half far: where C30 is large the best defocus may lie tens of radians away.
    reach = torch.where(torch.arange(_CANDIDATES) % 2 == 0, 10.0, 80.0)[:, None].double()
    spread = reach * (torch.rand(_CANDIDATES, count, generator=generator, dtype=torch.float64) - 0.5)
    # Several values must not do worse than one of them, so half of the candidates change a single one.
    alone = torch.arange(_CANDIDATES) // 2 % 2 == 0
    kept = torch.arange(_CANDIDATES) // 4 % count
    spread[alone] = spread[alone] * torch.nn.functional.one_hot(kept[alone], count) + 0.01
    # Slightly shifted: at T = 0 the gradient vanishes.
    spread[0] = 0.01
    return spread


def _descend(cost: Callable[[Tensor], Tensor], start: Tensor) -> tuple[float, Tensor]:
    """Return the least cost that gradients lead to from a start, and where it is."""

    def with_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        z = torch.from_numpy(x)[None].requires_grad_()
        value = cost(z).sum()
        [gradient] = torch.autograd.grad(value, z)
        return value.item(), gradient[0].numpy()

    end = minimize(with_gradient, start.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 60})
    return float(end.fun), torch.from_numpy(end.x)


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
