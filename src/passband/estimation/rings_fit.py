"""A fit of Thon rings: optics, film and background together, from the starts that a search gives.

M(q) = A(q) |T'|² + B(q) as in `rings`, log A and log B sums of cosines. Means of powers are gamma distributed (Whittle's likelihood).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passband.base.electron import wavelength
from passband.estimation.rings import SPREAD, THICKNESS, Candidate, Optics, nodes, squared_transfer, within_half_turn
from passband.estimation.spectrum import Spectrum

# log of the power that amorphous carbon of 2.0 g/cm³ scatters, 0.05 1/Å apart from 0.05 1/Å on: mean of 8 films of 40 Å of our own
# simulation. Other films differ by smooth factors, which the terms below have to mend.
_CARBON = (
    0.63, 0.74, 0.74, 0.72, 0.78, 0.73, 0.50, 0.26, 0.00, -0.29, -0.61, -0.90, -1.08, -1.17, -1.20, -1.15, -1.19, -1.40, -1.79, -2.20,
    -2.48, -2.71, -2.84, -2.93, -2.99, -3.09, -3.19, -3.32, -3.47, -3.55,
)  # fmt: skip
# Cosines over the band that log A and log B are made of, and how far each may go (standard deviations of a prior).
_FILM = (10.0, 1.0, 0.5, 0.4, 0.3)
_NOISE = (0.5, 1.5, 1.0, 0.5)
# Widths of the priors of log focal spread and log thickness: between a monochromated and a thermionic gun, between graphene oxide and a plastic film.
_SPREAD_WIDTH, _THICKNESS_WIDTH = 0.7, 0.8
_OPTICS = 5
# Terms of the smooth fall that rings have to be better than.
_SMOOTH = 6
# Iterations with fixed and with free optics, starts that are kept in between, and how far behind one is given up.
_FIRST, _ITERATIONS, _KEPT, _BEHIND = 8, 20, 3, 100.0
# Rings in a block for the uncertainty.
_BLOCK = 12

Array = NDArray[np.float64]


def fit(
    spectrum: Spectrum, optics: Optics, starts: list[Candidate], sectors: slice = slice(None), *, frozen: bool = False
) -> list[Candidate]:
    """Return the starts after a fit of M to the power, best first: C10, C12, φ12, focal spread, thickness, A and B together.

    Means of powers follow a gamma distribution (Whittle's likelihood); Fisher scoring with Levenberg's damping, all starts in one
    batch, the slopes of |T'|² by automatic differentiation.

    Args:
        spectrum: in rings and sectors.
        optics: what is known.
        starts: B candidates.
        sectors: to fit to.
        frozen: fit A and B alone, to one start.
    """
    grid = _Grid(spectrum, sectors)
    known = optics.focal_spread_angstrom
    middle = torch.zeros(_OPTICS + len(_FILM) + len(_NOISE), dtype=torch.float64)
    middle[3], middle[4] = math.log(known or SPREAD), math.log(THICKNESS)
    middle[_OPTICS], middle[_OPTICS + len(_FILM)] = grid.height(spectrum.noise), math.log(spectrum.noise)
    astigmatism, spread = optics.astigmatism_angstrom / 2, 1e-3 if known else _SPREAD_WIDTH
    widths = [1e5, astigmatism, astigmatism, spread, _THICKNESS_WIDTH, *_FILM, *_NOISE]
    firmness = torch.tensor(widths, dtype=torch.float64) ** -2
    z = middle.repeat(len(starts), 1)
    for row, start in zip(z, starts, strict=True):
        row[:_OPTICS] = torch.tensor(start.theta)
        if start.terms is not None:
            row[_OPTICS:] = torch.from_numpy(start.terms)
    if known:
        z[:, 3] = math.log(known)
    # First A and B for the optics of each start, which tells what to go on from.
    own = torch.cat([z[:, :_OPTICS], middle[_OPTICS:].repeat(len(z), 1)], 1)
    z, now = _scored(grid, optics, z, own, firmness, _FIRST, fixed=True)
    if not frozen:
        best = now.argsort()[:_KEPT]
        z, now = _scored(grid, optics, z[best], middle.repeat(len(best), 1), firmness, _ITERATIONS)
    jacobian, residual = grid.slopes(z, optics)
    return [
        _candidate(z[i], now[i].item(), _covariance(jacobian[i], residual[i], grid, firmness))
        for i in now.argsort().tolist()
    ]


def _scored(
    grid: "_Grid", optics: Optics, z: Tensor, middle: Tensor, firmness: Tensor, iterations: int, *, fixed: bool = False
) -> tuple[Tensor, Tensor]:
    """Return z [B, P] after Fisher scoring, of A and B alone if fixed, and −log-posterior under a normal prior about `middle` [B, P]."""
    squared = squared_transfer(z[:, :_OPTICS], grid.qx, grid.qy, optics) if fixed else None

    def cost(z: Tensor) -> Tensor:
        return grid.cost(z, optics, squared) + 0.5 * (firmness * (z - middle) ** 2).sum(1)

    damping = torch.full((len(z), 1, 1), 1e-2, dtype=torch.float64)
    now = cost(z)
    for _ in range(iterations):
        jacobian, residual = grid.slopes(z, optics, squared)
        weighted = jacobian * grid.weight[:, None]
        curvature = weighted.transpose(1, 2) @ jacobian + torch.diag(firmness)
        score = torch.einsum("bnp,bn->bp", weighted, residual) - firmness * (z - middle)
        ridge = torch.diag_embed(curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(curvature + damping * ridge, score)
        trial = cost(z + step)
        better = trial < now
        # A start is done when it hardly gains, or has fallen far behind another.
        done = (better & (now - trial < 0.02)) | (now > now.min() + _BEHIND)
        z = torch.where(better[:, None], z + step, z)
        now = torch.where(better, trial, now)
        damping = torch.where(better[:, None, None], damping / 5, damping * 8).clamp(1e-9, 1e9)
        if not fixed and bool(done.all()):
            break
    return z, now


def _candidate(z: Tensor, cost: float, covariance: Array) -> Candidate:
    c10, a, b, log_spread, log_thickness = z[:_OPTICS].tolist()
    return Candidate(
        C10=c10,
        C12=math.hypot(a, b),
        phi12=within_half_turn(math.atan2(b, a) / 2),
        focal_spread_angstrom=math.exp(log_spread),
        thickness_angstrom=math.exp(log_thickness),
        cost=cost,
        covariance=covariance,
        terms=z[_OPTICS:].numpy(),
    )


class _Grid:
    """The nodes of a spectrum, flat, and the model on them."""

    def __init__(self, spectrum: Spectrum, sectors: slice):
        power = spectrum.power[:, sectors]
        self.power = torch.from_numpy(np.nan_to_num(power, nan=1.0)).flatten()
        self.weight = torch.from_numpy(spectrum.count[:, sectors].copy()).flatten()
        qx, qy = nodes(spectrum, sectors)
        self.shape, self.qx, self.qy = qx.shape, qx.flatten(), qy.flatten()
        q = torch.hypot(self.qx, self.qy)
        self.x = (q - q.min()) / (q.max() - q.min())
        terms = self.cosines(max(len(_FILM), len(_NOISE)))
        self.of_film, self.of_noise = terms[:, : len(_FILM)], terms[:, : len(_NOISE)]
        self.fall = torch.from_numpy(np.interp(q.numpy(), 0.05 * np.arange(1, len(_CARBON) + 1), _CARBON))

    def cosines(self, count: int) -> Tensor:
        return torch.cos(math.pi * self.x[:, None] * torch.arange(count))

    def height(self, noise: float) -> float:
        """Return a first guess of the film's height over its carbon."""
        excess = max(((self.power - noise) * self.weight).sum().item(), 0.05 * noise * self.weight.sum().item())
        return math.log(2 * excess / (self.fall.exp() * self.weight).sum().item())

    def parts(self, z: Tensor, optics: Optics, squared: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return |T'|², unless it is given, A and B, shape [B, N]."""
        if squared is None:
            squared = squared_transfer(z[:, :_OPTICS], self.qx, self.qy, optics)
        film, noise = z[:, _OPTICS : _OPTICS + len(_FILM)], z[:, _OPTICS + len(_FILM) :]
        return squared, self.power_of(film, self.of_film, self.fall), self.power_of(noise, self.of_noise, 0 * self.fall)

    @staticmethod
    def power_of(weights: Tensor, terms: Tensor, offset: Tensor) -> Tensor:
        """Return the exponential of a sum of terms, within what a float holds."""
        return torch.exp((weights @ terms.T + offset).clamp(-80, 80))

    def cost(self, z: Tensor, optics: Optics, squared: Tensor | None = None) -> Tensor:
        """Return −log-likelihood, shape [B]; |T'|² may be given."""
        squared, film, rest = self.parts(z, optics, squared)
        mean = film * squared + rest
        return (self.weight * (self.power / mean + mean.log())).sum(1)

    def slopes(self, z: Tensor, optics: Optics, fixed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the slopes of log M [B, N, P] and power / M − 1 [B, N]; none over the optics where |T'|² is given."""
        squared, film, rest = self.parts(z, optics, fixed)
        mean = film * squared + rest
        if fixed is None:
            optical = _derivatives(lambda t: squared_transfer(t, self.qx, self.qy, optics), z[:, :_OPTICS])
        else:
            optical = mean.new_zeros(*mean.shape, _OPTICS)
        film, rest = film / mean, rest / mean
        parts = [film[..., None] * optical, (film * squared)[..., None] * self.of_film, rest[..., None] * self.of_noise]
        return torch.cat(parts, 2), self.power / mean - 1


def model(spectrum: Spectrum, optics: Optics, candidate: Candidate) -> tuple[Array, Array]:
    """Return what a fitted candidate says of the power, and how much of that ripples with the phase, both [R, K].

    Args:
        spectrum: in rings and sectors.
        optics: what is known.
        candidate: from `fit`.
    """
    grid = _Grid(spectrum, slice(None))
    z = torch.tensor([[*candidate.theta, *_terms(candidate)]], dtype=torch.float64)
    squared, film, rest = grid.parts(z, optics)
    spread = torch.tensor([candidate.focal_spread_angstrom], dtype=torch.float64)
    envelope = torch.exp(-((math.pi * wavelength(optics.energy_ev) * spread * (grid.qx**2 + grid.qy**2)) ** 2))
    mean, wave = film * squared + rest, film * (squared - envelope / 2)
    return mean.reshape(grid.shape).numpy(), wave.reshape(grid.shape).numpy()


def _terms(candidate: Candidate) -> Array:
    if candidate.terms is None:
        raise ValueError("this candidate comes from the search; fit it first")
    return candidate.terms


def held_out_gain(spectrum: Spectrum, optics: Optics, candidate: Candidate, fitted: slice, judged: slice) -> float:
    """Return by how much log-likelihood a fit to some sectors explains others better than a smooth fall without rings.

    Args:
        spectrum: in rings and sectors.
        optics: what is known.
        candidate: fitted to `fitted`.
        fitted: sectors to which the smooth fall is fitted.
        judged: sectors on which both are judged.
    """
    near, far = _Grid(spectrum, fitted), _Grid(spectrum, judged)
    z = torch.tensor(
        [[*candidate.theta, *(candidate.terms if candidate.terms is not None else ())]], dtype=torch.float64
    )
    terms = near.cosines(_SMOOTH)
    log = torch.zeros(_SMOOTH, dtype=torch.float64)
    log[0] = math.log((near.power * near.weight).sum().item() / near.weight.sum().item())
    curvature = terms.T @ (terms * near.weight[:, None]) + 1e-6 * torch.eye(_SMOOTH)
    for _ in range(30):
        ratio = near.power / (terms @ log).exp() - 1
        log = log + torch.linalg.solve(curvature, terms.T @ (near.weight * ratio.clamp(-1, 1)))
    smooth = far.cosines(_SMOOTH) @ log
    without = (far.weight * (far.power / smooth.exp() + smooth)).sum()
    return (without - far.cost(z, optics)[0]).item()


def _covariance(jacobian: Tensor, residual: Tensor, grid: _Grid, firmness: Tensor) -> Array:
    """Return the covariance of the optics by clusters, over blocks of rings and over sectors (Cameron et al. 2011).

    What the model misses repeats itself around a ring or along a sector, and so counts once for each of them.
    """
    scores = (jacobian * (grid.weight * residual)[:, None]).reshape(*grid.shape, -1)
    rows = torch.arange(grid.shape[0]) // _BLOCK
    blocks = torch.zeros(int(rows.max()) + 1, scores.shape[-1], dtype=scores.dtype)
    blocks.index_add_(0, rows, scores.sum(1))
    lines = scores.sum(0)
    spread = blocks.T @ blocks + lines.T @ lines
    bread = torch.linalg.inv(jacobian.T @ (jacobian * grid.weight[:, None]) + torch.diag(firmness))
    covariance = (bread @ spread @ bread)[:_OPTICS, :_OPTICS].numpy()
    return np.asarray(covariance + np.diag(np.maximum(-np.diag(covariance), 0)))


def _derivatives(of: Callable[[Tensor], Tensor], theta: Tensor) -> Tensor:
    """Return the slopes of a batched function [B, N] over each of its parameters, shape [B, N, P], by automatic differentiation.

    The slope of v·f over the parameters is linear in v, and its own slope over v is what is wanted: twice backward instead of once
    forward, whose modes torch loads with deprecation warnings. Each parameter has its own row, so that one call does for all.
    """
    count, parameters = theta.shape
    rows = theta.repeat_interleave(parameters, 0).requires_grad_()
    along = torch.eye(parameters, dtype=theta.dtype).repeat(count, 1)
    values = of(rows)
    v = torch.zeros_like(values, requires_grad=True)
    (pulled,) = torch.autograd.grad(values, rows, v, create_graph=True)
    (slopes,) = torch.autograd.grad(pulled, v, along)
    return slopes.reshape(count, parameters, -1).transpose(1, 2)
