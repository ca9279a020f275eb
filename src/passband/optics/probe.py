"""Scanning probes: pupil, probe, optical transfer function, and what STEM detectors transfer of thin specimens. Pure, batched.

The pupil is P(k) = A(k) exp(−iχ(k)), scaled to Σ|P|² = 1, the probe p(r) its inverse transform. A detector of sensitivity D(k) sees

    C_D(q) = ∫ D(k) P*(k) P(k − q) d²k

of the beats that a specimen makes at q (C with D = 1 is the optical transfer function, OTF, of the probe's intensity):

- haadf, df: intensities add up, and the image of a scattering map is the map blurred by |p|²: T = C(q).
- bf, abf: I = N (1 + 2 F⁻¹[φ̂ T]) of a weak phase φ, N the share of the beam that the detector sees, T(q) = (i/2N) [C_D(q) − C_D*(−q)].
  For a point on the axis that is the conjugate of the HRTEM transfer (reciprocity: Cowley, Appl. Phys. Lett. 15 (1969) 58; Rose, Optik
  39 (1974) 416; Hammel and Rose, Ultramicroscopy 58 (1995) 403, for rings).
- icom: F⁻¹[φ̂ T] is the integral of the centre of mass; T = C(q) for a detector that sees all (Lazić, Bosch and Lazar, Ultramicroscopy 160
  (2016) 265), and q · (L_x, L_y) / (i q²) for segments with the sensitivities D_x, D_y, L = i [C_D(q) − C_D*(−q)].

Source and drift of the specimen multiply T by the transform of the source; a focal spread averages C over foci (Gauss–Hermite).
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from passband.base.errors import BadInputError
from passband.conditions import StemDetector
from passband.optics.aberrations import aberration_gradient, aberration_phase
from passband.optics.parameters import Parameters, ProbeParameters
from passband.optics.transfer import aperture, intensity_transfer, motion_envelope

# Samples across the radius of a pupil: at least, and at most. The phase turns by at most so much [rad] from one to the next.
_LEAST, _MOST, _TURN = 96, 1024, 0.7
# Gauss–Hermite nodes over the focus.
_FOCI = 7


def pupil(parameters: Parameters, kx: Tensor, ky: Tensor, edge: float = 0.0) -> Tensor:
    """Return P = A exp(−iχ), complex, shape [B, *k]: 1 in the aperture, not scaled; `edge` is the width of its rim [1/Å]."""
    return torch.polar(aperture(parameters, kx, ky, edge), -aberration_phase(parameters, kx, ky))


def probe(parameters: Parameters, n: int, step: float) -> Tensor:
    """Return the probe p(r) at the mean focus on n × n points, `step` [Å] apart, complex, shape [B, n, n], Σ|p|² = 1.

    Its middle lies at [0, 0], and it is periodic: n · step must hold it.
    """
    k = torch.fft.fftfreq(n, step, dtype=torch.float64)
    p = torch.fft.ifft2(pupil(parameters, k[:, None].expand(n, n), k.expand(n, n), 1 / (n * step)))
    return p / torch.linalg.vector_norm(p, dim=(1, 2), keepdim=True)


def otf(parameters: ProbeParameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return the OTF with focal spread and source, complex, shape [B, *q], 1 at q = 0 and 0 beyond 2α/λ."""
    everything = StemDetector(kind="icom")
    return probe_transfer(replace(parameters, detectors=(everything,) * len(parameters)), qx, qy)


def probe_transfer(parameters: ProbeParameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return T(q) of each condition's detector, complex, shape [B, *q], |T| ≤ 1; see the head of this module."""
    transfer = torch.stack([_one(parameters.picked(torch.tensor([i])), qx, qy) for i in range(len(parameters))])
    if parameters.vibration_angstrom.any() or parameters.drift_angstrom.any():
        return transfer * motion_envelope(parameters, qx, qy)
    return transfer


def image_transfer(parameters: Parameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return what images transfer: `probe_transfer` of STEM conditions, `intensity_transfer` of HRTEM conditions; shape [B, *q]."""
    if isinstance(parameters, ProbeParameters):
        return probe_transfer(parameters, qx, qy)
    return intensity_transfer(parameters, qx, qy)


def detected_share(parameters: ProbeParameters) -> Tensor:
    """Return the share N of the undiffracted beam that each detector sees, shape [B]; exact for rings about the axis."""
    inner = torch.tensor([d.inner_mrad for d in parameters.detectors], dtype=parameters.energy_ev.dtype)
    outer = torch.tensor([d.outer_mrad or math.inf for d in parameters.detectors], dtype=parameters.energy_ev.dtype)
    beam = parameters.aperture_mrad
    return (torch.minimum(outer, beam) ** 2 - torch.minimum(inner, beam) ** 2) / beam**2


def quadrant_weight(semiangle: float) -> float:
    """Return what a difference of two opposite quadrants, per electron of the beam, counts as centre of mass, for a beam of a semi-angle.

    A disc of radius a that moves by d moves 2√2 d / (π a) of its electrons from one quadrant to the opposite one.
    """
    return math.pi * semiangle / (2 * math.sqrt(2))


def _sensitivities(parameters: ProbeParameters, kx: Tensor, ky: Tensor, edge: float) -> Tensor:
    """Return D(k) of one condition's detector, shape [1, n, n]; of quadrants D_x and D_y, [2, n, n], as centre of mass [1/Å]."""
    [detector] = parameters.detectors
    if detector.kind in ("bf", "abf"):
        return _ring(detector, parameters, torch.hypot(kx, ky), edge)[None]
    if not detector.quadrants:
        return torch.ones_like(kx)[None]
    ring = _ring(detector, parameters, torch.hypot(kx, ky), edge)
    # Of (kx, ky) the larger one in size names the quadrant; on the border, two share it.
    x, y = (kx.abs() >= ky.abs()) * torch.sign(kx), (ky.abs() >= kx.abs()) * torch.sign(ky)
    shared = torch.where(kx.abs() == ky.abs(), 0.5, 1.0)
    return quadrant_weight(_radius(parameters)) * ring * shared * torch.stack([x, y])


def _combined(detector: StemDetector, beats: Tensor, qx: Tensor, qy: Tensor) -> Tensor:
    """Return T [n, n] of a detector from its C_D(q), [S, n, n], on the grid of its pupil."""
    if detector.kind not in ("bf", "abf") and not detector.quadrants:
        return beats[0]
    # i [C_D(q) − C_D*(−q)].
    seen = 1j * (beats - beats.flip(1, 2).roll((1, 1), (1, 2)).conj())
    if not detector.quadrants:
        return seen[0] / (2 * beats[0, 0, 0].real)
    table = (qx * seen[0] + qy * seen[1]) / (1j * (qx**2 + qy**2))
    # A slow phase ramp moves the beam as a whole.
    table[0, 0] = 1
    return table


def _radius(parameters: ProbeParameters) -> float:
    """Return the radius of a single condition's pupil [1/Å]."""
    return 1e-3 * float(parameters.aperture_mrad / parameters.wavelength)


def _ring(detector: StemDetector, parameters: ProbeParameters, k: Tensor, edge: float) -> Tensor:
    """Return 1 within a ring and 0 outside, with linear edges of a width [1/Å], at |k| of any shape."""
    scale = 1e-3 / float(parameters.wavelength[0])
    inner = ((k - scale * detector.inner_mrad) / edge + 0.5).clamp(0, 1) if detector.inner_mrad else torch.ones_like(k)
    if detector.outer_mrad is None or detector.outer_mrad >= float(parameters.aperture_mrad):
        return inner
    return inner * ((scale * detector.outer_mrad - k) / edge + 0.5).clamp(0, 1)


def _one(parameters: ProbeParameters, qx: Tensor, qy: Tensor) -> Tensor:
    """Return T of a single condition, without its source, of the shape of q: made on a grid of the pupil and interpolated."""
    radius = _radius(parameters)
    foci, weights = _foci(float(parameters.focal_spread_angstrom))
    around = parameters.repeat(len(foci)).refocused(foci)
    across = _samples(around, radius)
    step = radius / across
    # Twice the diameter holds all beats, with room for interpolation.
    n = 4 * across + 8
    k = step * torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    kx, ky = k[:, None].expand(n, n), k.expand(n, n)
    d = _sensitivities(parameters, kx, ky, step)
    everything = bool((d == 1).all())
    # A sum over a soft rim is the area, one over its square is not.
    rim = aperture(parameters, kx, ky, step)[0]
    total = torch.zeros(len(d), n, n, dtype=torch.complex128)
    for focus, weight in enumerate(weights.tolist()):
        p = pupil(around.picked(torch.tensor([focus])), kx, ky, step)[0] / rim.sum().sqrt()
        spot = torch.fft.ifft2(p, norm="forward")
        total += weight * spot.conj() * (spot if everything else torch.fft.ifft2(d * p, norm="forward"))
    beats = torch.fft.fft2(total, norm="forward").conj()
    beats[:, 0, 0] = (d * rim).sum((1, 2)) / rim.sum()
    return _interpolated(_combined(parameters.detectors[0], beats, kx, ky), qx / step, qy / step)


def _foci(spread: float) -> tuple[Tensor, Tensor]:
    """Return foci [Å] about the mean and their weights."""
    if spread == 0:
        return torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(_FOCI)
    return spread * torch.from_numpy(nodes), torch.from_numpy(weights / weights.sum())


def _samples(parameters: ProbeParameters, radius: float) -> int:
    """Return how many samples across the pupil's radius [1/Å] follow its phase."""
    angle = torch.arange(16, dtype=torch.float64) * (math.pi / 8)
    r = radius * torch.linspace(0.25, 1, 4, dtype=torch.float64)[:, None]
    steepest = float(aberration_gradient(parameters, r * torch.cos(angle), r * torch.sin(angle)).abs().max()) * radius
    needed = max(math.ceil(steepest / _TURN), _LEAST)
    if needed > _MOST:
        raise BadInputError(
            f"the phase of the probe turns by {steepest:.3g} rad across its pupil, more than {_TURN * _MOST:.0f}; lower the defocus, the other aberrations "
            "or convergence_semiangle_mrad"
        )
    return needed


def _interpolated(table: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return a periodic table [n, n] between its points, by cubic convolution (Keys, IEEE Trans. ASSP 29 (1981) 1153); 0 beyond it."""
    n = len(table)
    flat = table.flatten()
    result = torch.zeros(x.shape, dtype=table.dtype)
    (i, wx), (j, wy) = _cubic(x), _cubic(y)
    for a in range(4):
        for b in range(4):
            result = result + wx[a] * wy[b] * flat[((i + a) % n) * n + (j + b) % n]
    return torch.where((x.abs() < n // 2 - 2) & (y.abs() < n // 2 - 2), result, torch.zeros_like(result))


def _cubic(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Return the first of four points about each x, and their weights."""
    whole = torch.floor(x)
    t = x - whole
    weights = [
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    ]
    return whole.long() - 1, weights
