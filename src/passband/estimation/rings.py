"""Thon rings: an exhaustive search for the defocus and astigmatism that make them, and a fit that starts from its peaks.

The power in an image of an amorphous film is M(q) = A(q) |T'(q)|² + B(q), with a smooth A of the film, a smooth B of the noise and
of all that is not linear, and T' = √(1 − w²) T − w T_a, where w is the film's amplitude contrast and T, T_a are the project's own
transfers (Thon, Z. Naturforsch. 21a (1966) 476; Rohou and Grigorieff, J. Struct. Biol. 192 (2015) 216). Atoms at all heights of a
film of thickness t each have their defocus: |T'|² = E² ½ (1 − cos 2χ') becomes E² ½ (1 − sinc(λ q² t) cos 2χ'), and χ' is that of
the film's middle (McMullan et al., Ultramicroscopy 158 (2015) 26).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from passband.base.electron import wavelength
from passband.estimation.spectrum import Spectrum
from passband.optics import Parameters, wave_transfer

# Share of the ripple's variance beyond noise from which one can ask what explains it.
_RIPPLES = 0.35
# Usual focal spread and film [Å].
SPREAD, THICKNESS = 30.0, 30.0
# Focal spreads that the search tries [Å].
_SPREADS = (15.0, 30.0, 50.0)
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Optics:
    """What is known before.

    Attributes:
        energy_ev: of the electrons [eV].
        C30: spherical aberration [Å].
        amplitude_contrast: of the film, w.
        focal_spread_angstrom: if known [Å].
        astigmatism_angstrom: greatest C12 that is thought possible [Å].
    """

    energy_ev: float
    C30: float = 0.0
    amplitude_contrast: float = 0.0
    focal_spread_angstrom: float | None = None
    astigmatism_angstrom: float = 200.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """One explanation of the rings.

    Attributes:
        C10: [Å].
        C12: [Å], not negative.
        phi12: [rad], within ±π/2.
        focal_spread_angstrom: what damps the rings, as a focal spread [Å].
        thickness_angstrom: of the film, as what fills the rings' zeros [Å].
        cost: −log-likelihood of the fit, or minus the correlation of the search.
        covariance: of C10, C12 cos 2φ, C12 sin 2φ, log focal spread, log thickness, shape [5, 5]; None from the search.
        terms: of log A and log B; None from the search.
    """

    C10: float
    C12: float
    phi12: float
    focal_spread_angstrom: float
    thickness_angstrom: float
    cost: float
    covariance: Array | None = None
    terms: Array | None = None

    @property
    def theta(self) -> list[float]:
        """C10, C12 cos 2φ, C12 sin 2φ [Å], log focal spread and log thickness."""
        return [
            self.C10,
            self.C12 * math.cos(2 * self.phi12),
            self.C12 * math.sin(2 * self.phi12),
            math.log(self.focal_spread_angstrom),
            math.log(self.thickness_angstrom),
        ]


def candidate_at(C10: float, C12: float = 0.0, phi12: float = 0.0) -> Candidate:
    """Return a start for a fit with the usual focal spread and thickness; a little astigmatism gives its axis a slope."""
    return Candidate(C10, max(C12, 1.0), within_half_turn(phi12), SPREAD, THICKNESS, 0.0)


def squared_transfer(theta: Tensor, qx: Tensor, qy: Tensor, optics: Optics) -> Tensor:
    """Return |T'|², shape [B, *q].

    Args:
        theta: C10, C12 cos 2φ, C12 sin 2φ [Å], log focal spread, log thickness, shape [B, 5].
        qx: spatial frequency along x [1/Å].
        qy: spatial frequency along y [1/Å].
        optics: what is known.
    """
    c10, a, b, log_spread, log_thickness = theta.unbind(1)
    one = torch.ones_like(c10)
    parameters = Parameters(
        energy_ev=optics.energy_ev * one,
        # At no astigmatism its direction has no slope.
        coefficients={"C10": c10, "C12": (a * a + b * b + 1e-6).sqrt(), "C30": optics.C30 * one},
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
    w = optics.amplitude_contrast
    squared = (math.sqrt(1 - w * w) * t.imag + w * t.real) ** 2
    envelope = t.real**2 + t.imag**2
    phase = wavelength(optics.energy_ev) * log_thickness.exp().reshape(-1, *[1] * qx.ndim) * (qx**2 + qy**2)
    return 0.5 * (envelope - torch.sinc(phase) * (envelope - 2 * squared))


def ripple(spectrum: Spectrum, sectors: slice = slice(None)) -> tuple[Array, Array, Array]:
    """Return the relative deviation of the power from a smooth fall [R, k], its weights [R, k], and the smooth terms [R, 4]."""
    power, weight = np.nan_to_num(spectrum.power[:, sectors]), spectrum.count[:, sectors]
    total = weight.sum(1)
    profile = (power * weight).sum(1) / np.maximum(total, 1e-9)
    x = (spectrum.q - spectrum.q[0]) / (spectrum.q[-1] - spectrum.q[0])
    smooth = np.cos(np.pi * np.outer(x, np.arange(4)))
    root = np.sqrt(total)
    log = np.log(np.maximum(profile, 1e-12 * profile.max()))
    terms = np.linalg.lstsq(root[:, None] * smooth, root * log, rcond=None)[0]
    return power / np.exp(smooth @ terms)[:, None] - 1, weight, smooth


def search(
    spectrum: Spectrum, optics: Optics, defoci: Array, sectors: slice = slice(None), keep: int = 3
) -> list[Candidate]:
    """Return the best distinct peaks of the correlation of the power with |T'|², over defocus, astigmatism and its axis.

    As CTFFIND does, but over every combination: in one direction an astigmatic transfer is a round one of another defocus, so
    that all sums are looked up in a table of directions and defoci. What a smooth background explains is taken out of both.

    Args:
        spectrum: in rings and sectors.
        optics: what is known.
        defoci: to try, −C10, equally far apart [Å].
        sectors: to look at.
        keep: at most as many peaks.
    """
    y, weight, smooth = ripple(spectrum, sectors)
    angle, step = spectrum.angle[sectors], defoci[1] - defoci[0]
    gram = np.linalg.inv(np.einsum("ri,r,rj->ij", smooth, weight.sum(1), smooth))
    y = y - (smooth @ (gram @ np.einsum("ri,rk->i", smooth, weight * y)))[:, None]
    reach = math.ceil(optics.astigmatism_angstrom / step)
    wide = defoci[0] + step * np.arange(-reach, len(defoci) + reach)
    # The astigmatisms to try: none, and steps of two of the defocus along twelve axes.
    amplitudes = np.arange(0, optics.astigmatism_angstrom + 1e-9, 2 * step)
    axes = np.pi * np.arange(12) / 12
    turns = [(0.0, 0.0)] + [(c, p) for c in amplitudes[1:] for p in axes]
    found: list[Candidate] = []
    for spread in _SPREADS:
        theta = torch.tensor([[-d, 0, 0, math.log(spread), math.log(THICKNESS)] for d in wide], dtype=torch.float64)
        q = torch.from_numpy(spectrum.q)
        model = squared_transfer(theta, q, 0 * q, optics).numpy()
        overlap = model @ (weight * y)
        norm = (model**2) @ weight
        smooth_part = np.einsum("dr,rk,ri->dki", model, weight, smooth)
        scores = np.empty((len(turns), len(defoci)))
        columns = np.arange(len(angle))
        for t, (c12, phi) in enumerate(turns):
            # Along φ the defocus is −C10 − C12 cos 2(φ − φ12).
            shift = np.round(-c12 * np.cos(2 * (angle - phi)) / step).astype(int)
            rows = np.arange(len(defoci))[:, None] + reach + shift
            part = smooth_part[rows, columns].sum(1)
            left = norm[rows, columns].sum(1) - np.einsum("di,ij,dj->d", part, gram, part)
            scores[t] = overlap[rows, columns].sum(1) / np.sqrt(np.maximum(left, 1e-9))
        best = scores.max(0)
        peaks = np.flatnonzero((best >= np.roll(best, 1)) & (best >= np.roll(best, -1)) & (best > 0))
        for d in peaks[np.argsort(best[peaks])[::-1][:keep]]:
            c12, phi = turns[int(scores[:, d].argmax())]
            found.append(
                replace(
                    candidate_at(-float(defoci[d]), float(c12), phi), focal_spread_angstrom=spread, cost=-float(best[d])
                )
            )
    chosen: list[Candidate] = []
    for candidate in sorted(found, key=lambda c: c.cost):
        if all(abs(candidate.C10 - c.C10) > 1.5 * step for c in chosen):
            chosen.append(candidate)
    return chosen[:keep]


def agreement(
    spectrum: Spectrum, candidate: Candidate, optics: Optics, sectors: slice = slice(None)
) -> tuple[float, float, float]:
    """Return the correlation of the power's ripple with a candidate's |T'|², in standard deviations of pure noise, and what it explains.

    The last is the share of the ripple's variance beyond noise: where it is small, something else than these rings ripples. It is 1
    where noise is most of the variance, so that nothing can be said.

    Args:
        spectrum: in rings and sectors.
        candidate: to judge.
        optics: what is known.
        sectors: to judge it on.
    """
    y, weight, smooth = ripple(spectrum, sectors)
    qx, qy = nodes(spectrum, sectors)
    model = squared_transfer(torch.tensor([candidate.theta], dtype=torch.float64), qx, qy, optics)[0].numpy()
    gram = np.linalg.inv(np.einsum("ri,r,rj->ij", smooth, weight.sum(1), smooth))

    def rough(values: Array) -> Array:
        return values - (smooth @ (gram @ np.einsum("ri,rk->i", smooth, weight * values)))[:, None]

    y, model = rough(y), rough(model)
    overlap, norm = (weight * y * model).sum(), (weight * model**2).sum()
    variance = (weight * y**2).sum()
    beyond = variance - (weight > 0).sum()
    explained = overlap * abs(overlap) / norm / beyond if beyond > _RIPPLES * variance else 1.0
    return float(overlap / math.sqrt(norm * variance)), float(overlap / math.sqrt(norm)), float(explained)


def nodes(spectrum: Spectrum, sectors: slice) -> tuple[Tensor, Tensor]:
    """Return qx and qy of a spectrum's bins [1/Å], shape [R, k] each."""
    q, angle = torch.from_numpy(spectrum.q)[:, None], torch.from_numpy(spectrum.angle[sectors].copy())[None]
    return q * torch.cos(angle), q * torch.sin(angle)


def within_half_turn(phi: float) -> float:
    """Return an angle of a two-fold axis within ±π/2."""
    return math.remainder(phi, math.pi)


def defocus_step(energy_ev: float, q_max: float) -> float:
    """Return the step of defocus that turns the phase by half a radian at q_max [Å]."""
    return 0.5 / (math.pi * wavelength(energy_ev) * q_max**2)
