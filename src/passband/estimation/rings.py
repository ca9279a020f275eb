"""Thon rings: an exhaustive search for the defocus and astigmatism that produce them, and a fit that starts from its peaks.

The power in an image of an amorphous film is M(q) = A(q) |T'(q)|² + B(q): A is smooth and describes the film, B is smooth and holds
noise and everything non-linear, and T' = √(1 − w²) T − w T_a, where w is the film's amplitude contrast, T the intensity transfer and
T_a = ½ [t(q) + t*(−q)] (Thon, Z. Naturforsch. 21a (1966) 476; Rohou and Grigorieff, J. Struct. Biol. 192 (2015) 216). Atoms at each
height of a film of thickness t have their own defocus: |T'|² = E² ½ (1 − cos 2χ') becomes E² ½ (1 − sinc(λ q² t) cos 2χ'), where χ' is
that of the middle of the film (McMullan et al., Ultramicroscopy 158 (2015) 26).

The fit describes log A and log B as sums of cosines. Means of powers are gamma distributed (Whittle's likelihood).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from passband.base.electron import wavelength
from passband.estimation.spectrum import Array, Spectrum
from passband.optics import Parameters, wave_transfer

# Least share of the ripple's variance beyond noise for which an explained share is computed.
_RIPPLES = 0.35
# Typical focal spread and film thickness [Å].
SPREAD, THICKNESS = 30.0, 30.0
# Greatest C12 of the search, twice the standard deviation of the prior of the fit [Å].
_ASTIGMATISM = 200.0
# Focal spreads that the search tries [Å], and the peaks that it returns.
_SPREADS, _PEAKS = (15.0, 30.0, 50.0), 3
# log of the power scattered by amorphous carbon of 2.0 g/cm³, at multiples of 0.05 1/Å: mean of 8 simulated films of 40 Å. Other films
# differ by smooth factors, which the terms below fit.
_CARBON = (
    0.63, 0.74, 0.74, 0.72, 0.78, 0.73, 0.50, 0.26, 0.00, -0.29, -0.61, -0.90, -1.08, -1.17, -1.20, -1.15, -1.19, -1.40, -1.79, -2.20,
    -2.48, -2.71, -2.84, -2.93, -2.99, -3.09, -3.19, -3.32, -3.47, -3.55,
)  # fmt: skip
# Standard deviations of the priors of the cosine coefficients of log A and log B.
_FILM = (10.0, 1.0, 0.5, 0.4, 0.3)
_NOISE = (0.5, 1.5, 1.0, 0.5)
# Widths of the priors of log focal spread and log thickness: between a monochromated and a thermionic gun, between graphene oxide and a plastic film.
_SPREAD_WIDTH, _THICKNESS_WIDTH = 0.7, 0.8
_OPTICS = 5
# Cosine terms of the smooth background that rings are compared with.
_SMOOTH = 6
# Iterations with fixed and with free optics, starts that go on after the first, and the cost above the best at which a start is dropped.
_FIRST, _ITERATIONS, _STARTS, _BEHIND = 8, 20, 3, 100.0
# Rings in a block of the cluster covariance.
_BLOCK = 12
_ALL = slice(None)


@dataclass(frozen=True)
class FitSettings:
    """What a fit assumes."""

    energy_ev: float  #: of the electrons [eV]
    C30: float = 0.0  #: spherical aberration [Å]
    amplitude_contrast: float = 0.05  #: of the film, w; 0.05 fits simulated amorphous carbon best


@dataclass(frozen=True, eq=False)
class Candidate:
    """Optics and film that may explain the rings, from the search or from a fit."""

    C10: float  #: [Å]
    C12: float  #: [Å], not negative
    phi12: float  #: [rad], within ±π/2
    focal_spread_angstrom: float  #: that damps the rings [Å]
    thickness_angstrom: float  #: of the film; a thicker film fills the zeros between rings [Å]
    cost: float  #: −log-likelihood of the fit, or minus the correlation of the search
    covariance: Array = field(default_factory=lambda: np.empty(0))  #: of `theta`, shape [5, 5]; empty from the search
    terms: Array = field(default_factory=lambda: np.empty(0))  #: of log A and log B; empty from the search

    @property
    def theta(self) -> list[float]:
        """C10, C12 cos 2φ, C12 sin 2φ [Å], log focal spread and log thickness."""
        astigmatism = self.C12 * math.cos(2 * self.phi12), self.C12 * math.sin(2 * self.phi12)
        return [self.C10, *astigmatism, math.log(self.focal_spread_angstrom), math.log(self.thickness_angstrom)]


def candidate_at(C10: float, C12: float = 0.0, phi12: float = 0.0) -> Candidate:
    """Return a start of a fit with typical focal spread and thickness, and C12 ≥ 1 Å so that its axis has a gradient."""
    return Candidate(C10, max(C12, 1.0), math.remainder(phi12, math.pi), SPREAD, THICKNESS, 0.0)


def squared_transfer(theta: Tensor, qx: Tensor, qy: Tensor, settings: FitSettings) -> Tensor:
    """Return |T'|², shape [B, *q], at frequencies [1/Å], of optics as `Candidate.theta` lists them, shape [B, 5]."""
    c10, a, b, log_spread, log_thickness = theta.unbind(1)
    one = torch.ones_like(c10)
    parameters = Parameters(
        energy_ev=settings.energy_ev * one,
        # Without astigmatism its direction has no gradient.
        coefficients={"C10": c10, "C12": (a * a + b * b + 1e-6).sqrt(), "C30": settings.C30 * one},
        angles={"C12": torch.atan2(b, a + 1e-9) / 2},
        focal_spread_angstrom=log_spread.exp(),
        convergence_mrad=0 * one,
        aperture_mrad=torch.full_like(one, math.inf),
        vibration_angstrom=0 * one,
        drift_angstrom=torch.zeros(len(theta), 2, dtype=theta.dtype),
        dose_per_angstrom2=torch.full_like(one, math.inf),
    )
    # These aberrations are even, so that T = −Im t and T_a = Re t.
    t = wave_transfer(parameters, qx, qy)
    w = settings.amplitude_contrast
    squared = (math.sqrt(1 - w * w) * t.imag + w * t.real) ** 2
    envelope = t.real**2 + t.imag**2
    phase = wavelength(settings.energy_ev) * log_thickness.exp().reshape(-1, *[1] * qx.ndim) * (qx**2 + qy**2)
    return 0.5 * (envelope - torch.sinc(phase) * (envelope - 2 * squared))


def ripple(spectrum: Spectrum, sectors: slice) -> tuple[Array, Array, Array]:
    """Return the power's relative deviation from a smooth background [R, k], its weights [R, k], and the smooth terms [R, 4].

    The terms are orthonormal under the weights, and the deviation is orthogonal to them (`_rough`).
    """
    power, weight = np.nan_to_num(spectrum.power[:, sectors]), spectrum.count[:, sectors]
    total = weight.sum(1)
    profile = (power * weight).sum(1) / np.maximum(total, 1e-9)
    x = (spectrum.q - spectrum.q[0]) / (spectrum.q[-1] - spectrum.q[0])
    smooth = np.cos(np.pi * np.outer(x, np.arange(4)))
    root = np.sqrt(total)
    log = np.log(np.maximum(profile, 1e-12 * profile.max()))
    terms = np.linalg.lstsq(root[:, None] * smooth, root * log, rcond=None)[0]
    y = power / np.exp(smooth @ terms)[:, None] - 1
    smooth = smooth @ np.linalg.cholesky(np.linalg.inv(np.einsum("ri,r,rj->ij", smooth, total, smooth)))
    return _rough(y, weight, smooth), weight, smooth


def _rough(values: Array, weight: Array, smooth: Array) -> Array:
    """Return values [R, k] without the part that the smooth terms explain."""
    return np.asarray(values - (smooth @ np.einsum("ri,rk->i", smooth, weight * values))[:, None])


def search(spectrum: Spectrum, settings: FitSettings, defoci: Array, sectors: slice) -> list[Candidate]:
    """Return the best distinct peaks of the correlation of the power with |T'|², over defocus, astigmatism and its axis.

    The search is exhaustive: along one direction an astigmatic transfer equals a round one of another defocus, so one table over
    directions and equally spaced defoci (−C10 [Å]) holds all sums. The part that a smooth background explains is removed from both.
    """
    y, weight, smooth = ripple(spectrum, sectors)
    angle, step = spectrum.angle[sectors], defoci[1] - defoci[0]
    reach = math.ceil(_ASTIGMATISM / step)
    wide = defoci[0] + step * np.arange(-reach, len(defoci) + reach)
    # Astigmatisms to try: none, and multiples of two defocus steps along twelve axes.
    amplitudes = np.arange(0, _ASTIGMATISM + 1e-9, 2 * step)
    axes = np.pi * np.arange(12) / 12
    turns = [(0.0, 0.0)] + [(c, p) for c in amplitudes[1:] for p in axes]
    peaks: list[Candidate] = []
    for spread in _SPREADS:
        theta = torch.tensor([[-d, 0, 0, math.log(spread), math.log(THICKNESS)] for d in wide], dtype=torch.float64)
        q = torch.from_numpy(spectrum.q)
        model = squared_transfer(theta, q, 0 * q, settings).numpy()
        overlap = model @ (weight * y)
        norm = (model**2) @ weight
        smooth_part = np.einsum("dr,rk,ri->dki", model, weight, smooth)
        scores = np.empty((len(turns), len(defoci)))
        columns = np.arange(len(angle))
        for t, (c12, phi) in enumerate(turns):
            # Along φ the defocus is −C10 − C12 cos 2(φ − φ12).
            shift = np.round(-c12 * np.cos(2 * (angle - phi)) / step).astype(int)
            rows = np.arange(len(defoci))[:, None] + reach + shift
            left = norm[rows, columns].sum(1) - (smooth_part[rows, columns].sum(1) ** 2).sum(1)
            scores[t] = overlap[rows, columns].sum(1) / np.sqrt(np.maximum(left, 1e-9))
        best = scores.max(0)
        at = np.flatnonzero((best >= np.roll(best, 1)) & (best >= np.roll(best, -1)) & (best > 0))
        for d in at[np.argsort(best[at])[::-1][:_PEAKS]]:
            c12, phi = turns[int(scores[:, d].argmax())]
            peak = candidate_at(-float(defoci[d]), float(c12), phi)
            peaks.append(replace(peak, focal_spread_angstrom=spread, cost=-float(best[d])))
    chosen: list[Candidate] = []
    for candidate in sorted(peaks, key=lambda c: c.cost):
        if all(abs(candidate.C10 - c.C10) > 1.5 * step for c in chosen):
            chosen.append(candidate)
    return chosen[:_PEAKS]


def agreement(
    spectrum: Spectrum, candidate: Candidate, settings: FitSettings, sectors: slice
) -> tuple[float, float, float]:
    """Return how well a candidate's |T'|² explains the power's ripple: correlation, its significance [σ of noise], explained share.

    The share is of the ripple's variance beyond noise: a small share means that something other than these rings ripples. It is 1
    where noise dominates the variance.
    """
    y, weight, smooth = ripple(spectrum, sectors)
    qx, qy = nodes(spectrum, sectors)
    model = squared_transfer(torch.tensor([candidate.theta], dtype=torch.float64), qx, qy, settings)[0].numpy()
    model = _rough(model, weight, smooth)
    overlap, norm = (weight * y * model).sum(), (weight * model**2).sum()
    variance = (weight * y**2).sum()
    beyond = variance - (weight > 0).sum()
    explained = overlap * abs(overlap) / norm / beyond if beyond > _RIPPLES * variance else 1.0
    return float(overlap / math.sqrt(norm * variance)), float(overlap / math.sqrt(norm)), float(explained)


def nodes(spectrum: Spectrum, sectors: slice) -> tuple[Tensor, Tensor]:
    """Return qx and qy of a spectrum's bins [1/Å], shape [R, k] each."""
    q, angle = torch.from_numpy(spectrum.q)[:, None], torch.from_numpy(spectrum.angle[sectors].copy())[None]
    return q * torch.cos(angle), q * torch.sin(angle)


def defocus_step(energy_ev: float, q_max: float) -> float:
    """Return the step of defocus that turns the phase by half a radian at q_max [Å]."""
    return 0.5 / (math.pi * wavelength(energy_ev) * q_max**2)


def fit(
    spectrum: Spectrum, settings: FitSettings, starts: list[Candidate], sectors: slice = _ALL, *, frozen: bool = False
) -> list[Candidate]:
    """Fit M to the power from each start, C10, C12, φ12, focal spread, thickness, A and B together; return the results, best first.

    Fisher scoring with Levenberg's damping, all starts in one batch; automatic differentiation gives the gradients of |T'|².
    `frozen` optics stay as they start: only A and B are fitted.
    """
    grid = _Grid(spectrum, settings, sectors)
    middle = torch.zeros(_OPTICS + len(_FILM) + len(_NOISE), dtype=torch.float64)
    middle[3], middle[4] = math.log(SPREAD), math.log(THICKNESS)
    middle[_OPTICS], middle[_OPTICS + len(_FILM)] = grid.height(spectrum.noise), math.log(spectrum.noise)
    widths = [1e5, _ASTIGMATISM / 2, _ASTIGMATISM / 2, _SPREAD_WIDTH, _THICKNESS_WIDTH, *_FILM, *_NOISE]
    firmness = torch.tensor(widths, dtype=torch.float64) ** -2
    z = middle.repeat(len(starts), 1)
    for row, start in zip(z, starts, strict=True):
        row[:_OPTICS] = torch.tensor(start.theta)
        if len(start.terms):
            row[_OPTICS:] = torch.from_numpy(start.terms)
    # First A and B alone, for the optics of each start: the cost then ranks the starts.
    prior = torch.cat([z[:, :_OPTICS], middle[_OPTICS:].repeat(len(z), 1)], 1)
    z, now = _scored(grid, z, prior, firmness, _FIRST, fixed=True)
    if not frozen:
        best = now.argsort()[:_STARTS]
        z, now = _scored(grid, z[best], middle.repeat(len(best), 1), firmness, _ITERATIONS)
    jacobian, residual = grid.slopes(z)
    covariances = [_covariance(*one, grid, firmness) for one in zip(jacobian, residual, strict=True)]
    return [_candidate(z[i], now[i].item(), covariances[i]) for i in now.argsort().tolist()]


def _scored(
    grid: "_Grid", z: Tensor, middle: Tensor, firmness: Tensor, iterations: int, *, fixed: bool = False
) -> tuple[Tensor, Tensor]:
    """Return z [B, P] after Fisher scoring (of A and B only if fixed) and the −log-posterior with a normal prior about `middle` [B, P]."""
    squared = grid.squared(z[:, :_OPTICS]) if fixed else None

    def cost(z: Tensor) -> Tensor:
        return grid.cost(z, squared) + 0.5 * (firmness * (z - middle) ** 2).sum(1)

    damping = torch.full((len(z), 1, 1), 1e-2, dtype=torch.float64)
    now = cost(z)
    for _ in range(iterations):
        jacobian, residual = grid.slopes(z, squared)
        weighted = jacobian * grid.weight[:, None]
        curvature = weighted.transpose(1, 2) @ jacobian + torch.diag(firmness)
        score = torch.einsum("bnp,bn->bp", weighted, residual) - firmness * (z - middle)
        ridge = torch.diag_embed(curvature.diagonal(dim1=1, dim2=2))
        step = torch.linalg.solve(curvature + damping * ridge, score)
        trial = cost(z + step)
        better = trial < now
        # A start has converged when it hardly improves, and is dropped far above the best.
        done = (better & (now - trial < 0.02)) | (now > now.min() + _BEHIND)
        z = torch.where(better[:, None], z + step, z)
        now = torch.where(better, trial, now)
        damping = torch.where(better[:, None, None], damping / 5, damping * 8).clamp(1e-9, 1e9)
        if not fixed and bool(done.all()):
            break
    return z, now


def _candidate(z: Tensor, cost: float, covariance: Array) -> Candidate:
    c10, a, b, log_spread, log_thickness = z[:_OPTICS].tolist()
    c12, phi12 = math.hypot(a, b), math.remainder(math.atan2(b, a) / 2, math.pi)
    film = math.exp(log_spread), math.exp(log_thickness)
    return Candidate(c10, c12, phi12, *film, cost, covariance, z[_OPTICS:].numpy())


class _Grid:
    """The bins of a spectrum, flattened, and the model on them."""

    def __init__(self, spectrum: Spectrum, settings: FitSettings, sectors: slice):
        self.settings = settings
        self.power = torch.from_numpy(np.nan_to_num(spectrum.power[:, sectors], nan=1.0)).flatten()
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
        """Return a first guess of log A over that of carbon."""
        excess = max(((self.power - noise) * self.weight).sum().item(), 0.05 * noise * self.weight.sum().item())
        return math.log(2 * excess / (self.fall.exp() * self.weight).sum().item())

    def squared(self, theta: Tensor) -> Tensor:
        return squared_transfer(theta, self.qx, self.qy, self.settings)

    def parts(self, z: Tensor, squared: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return |T'|² (as given, or computed), A and B, shape [B, N] each."""
        squared = self.squared(z[:, :_OPTICS]) if squared is None else squared
        film, noise = z[:, _OPTICS : _OPTICS + len(_FILM)], z[:, _OPTICS + len(_FILM) :]
        # Clamped to the range of a float.
        film = torch.exp((film @ self.of_film.T + self.fall).clamp(-80, 80))
        return squared, film, torch.exp((noise @ self.of_noise.T).clamp(-80, 80))

    def cost(self, z: Tensor, squared: Tensor | None = None) -> Tensor:
        squared, film, rest = self.parts(z, squared)
        mean = film * squared + rest
        return (self.weight * (self.power / mean + mean.log())).sum(1)

    def slopes(self, z: Tensor, fixed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the gradients of log M [B, N, P] (zero in the optics where |T'|² is given) and power / M − 1 [B, N]."""
        squared, film, rest = self.parts(z, fixed)
        mean = film * squared + rest
        theta = z[:, :_OPTICS]
        optical = mean.new_zeros(*mean.shape, _OPTICS) if fixed is not None else _derivatives(self.squared, theta)
        film, rest = film / mean, rest / mean
        parts = [film[..., None] * optical, (film * squared)[..., None] * self.of_film, rest[..., None] * self.of_noise]
        return torch.cat(parts, 2), self.power / mean - 1


def model(spectrum: Spectrum, settings: FitSettings, candidate: Candidate) -> tuple[Array, Array]:
    """Return the power M that a fitted candidate predicts, and the part of it that oscillates with the phase, both [R, K]."""
    grid = _Grid(spectrum, settings, _ALL)
    z = torch.tensor([[*candidate.theta, *candidate.terms]], dtype=torch.float64)
    squared, film, rest = grid.parts(z)
    spread = torch.tensor([candidate.focal_spread_angstrom], dtype=torch.float64)
    envelope = torch.exp(-((math.pi * wavelength(settings.energy_ev) * spread * (grid.qx**2 + grid.qy**2)) ** 2))
    mean, wave = film * squared + rest, film * (squared - envelope / 2)
    return mean.reshape(grid.shape).numpy(), wave.reshape(grid.shape).numpy()


def held_out_gain(
    spectrum: Spectrum, settings: FitSettings, candidate: Candidate, fitted: slice, judged: slice
) -> float:
    """Return the gain in log-likelihood of a candidate over a smooth background without rings, both fitted to other sectors."""
    near, far = _Grid(spectrum, settings, fitted), _Grid(spectrum, settings, judged)
    z = torch.tensor([[*candidate.theta, *candidate.terms]], dtype=torch.float64)
    terms = near.cosines(_SMOOTH)
    log = torch.zeros(_SMOOTH, dtype=torch.float64)
    log[0] = math.log((near.power * near.weight).sum().item() / near.weight.sum().item())
    curvature = terms.T @ (terms * near.weight[:, None]) + 1e-6 * torch.eye(_SMOOTH)
    for _ in range(30):
        ratio = near.power / (terms @ log).exp() - 1
        log = log + torch.linalg.solve(curvature, terms.T @ (near.weight * ratio.clamp(-1, 1)))
    smooth = far.cosines(_SMOOTH) @ log
    without = (far.weight * (far.power / smooth.exp() + smooth)).sum()
    return (without - far.cost(z)[0]).item()


def _covariance(jacobian: Tensor, residual: Tensor, grid: _Grid, firmness: Tensor) -> Array:
    """Return the cluster-robust covariance of the optics, over blocks of rings and over sectors (Cameron et al. 2011).

    Errors of the model are correlated around a ring and along a sector, so each ring block and each sector is one cluster.
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
    """Return the Jacobian of a batched function [B, N] in its parameters, shape [B, N, P], by automatic differentiation.

    The gradient of v·f in the parameters is linear in v, and its derivative in v is the Jacobian: two backward passes instead of one
    in forward mode, which torch loads with deprecation warnings. Each parameter has its own row, so one call computes all.
    """
    count, parameters = theta.shape
    rows = theta.repeat_interleave(parameters, 0).requires_grad_()
    along = torch.eye(parameters, dtype=theta.dtype).repeat(count, 1)
    values = of(rows)
    v = torch.zeros_like(values, requires_grad=True)
    (pulled,) = torch.autograd.grad(values, rows, v, create_graph=True)
    (slopes,) = torch.autograd.grad(pulled, v, along)
    return slopes.reshape(count, parameters, -1).transpose(1, 2)
