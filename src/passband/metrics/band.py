"""The band of spatial frequencies over which conditions are compared, and the transfer of conditions on it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from passband import optics
from passband.base.frequencies import polar_band
from passband.conditions import ABERRATIONS, AnyCondition
from passband.optics import Parameters

#: Radius of the band B over which information is counted [1/Å].
Q_MAX = 1.0
#: A spectrum over |q| [1/Å].
Spectrum = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Band:
    """Nodes (qx, qy) [1/Å] of a band with their weights, each of shape [N].

    Attributes:
        weight: w(q) of each node with mean 1; nodes stand for equal areas.
        object_power: power spectral density of the specimen's phase [Å²].
    """

    qx: Tensor
    qy: Tensor
    weight: Tensor
    object_power: Tensor

    def split(self, nodes: int) -> "list[Band]":
        """Return the band in pieces of at most that many nodes."""
        pieces = zip(*(part.split(nodes) for part in (self.qx, self.qy, self.weight, self.object_power)), strict=True)
        return [Band(*piece) for piece in pieces]


def make_band(conditions: Sequence[AnyCondition], q_max: float, weight: Spectrum, object_power: Spectrum) -> Band:
    """Return a band of radius q_max [1/Å] that resolves the phases of all conditions; the weight may have any scale."""
    return band_of(q_max, *_nodes(conditions, q_max), weight, object_power)


def band_of(q_max: float, rings: int, directions: int, weight: Spectrum, object_power: Spectrum) -> Band:
    """Return a band of radius q_max [1/Å] on so many rings and directions; the weight may have any scale."""
    qx, qy = (q.flatten() for q in polar_band(q_max, rings, directions))
    radius = torch.hypot(qx, qy)
    w = weight(radius)
    return Band(qx, qy, w / w.mean(), object_power(radius))


def _nodes(conditions: Sequence[AnyCondition], q_max: float) -> tuple[int, int]:
    """Return rings and directions: some 0.15 rad of phase from ring to ring, and four nodes a radian around."""
    parameters = optics.stack(conditions)
    q = torch.linspace(0.05, 1, 20, dtype=torch.float64) * q_max
    radial, around = torch.zeros(len(conditions), 20), torch.zeros(len(conditions), 20)
    for symbol, magnitude in parameters.coefficients.items():
        n, m = ABERRATIONS[symbol]
        size = 2 * math.pi * (parameters.wavelength**n * magnitude.abs())[:, None] * q ** (n + 1)
        radial, around = radial + size, around + size * m / (n + 1)
    # Frequencies that the envelopes suppress need not be resolved.
    alive = optics.wave_transfer(parameters, q, 0 * q).abs() > 1e-3
    rings = int((radial * alive).max() * q_max**2 / (2 * q[-1] ** 2) / 0.15) + 1
    directions = (
        8 if all(c.is_round for c in conditions) else 16 * math.ceil((4 * float((around * alive).max()) + 32) / 16)
    )
    return min(max(rings, 1024), 8192), min(directions, 512)


class View:
    """Transfer of B conditions on a band (or a piece of it); each quantity is computed on first use."""

    def __init__(self, parameters: Parameters, band: Band, gauge: Tensor):
        """Take B conditions, N nodes, and each condition's `gauge` over the whole band, shape [B, 3]."""
        self.parameters, self.band, self._gauge = parameters, band, gauge

    @cached_property
    def wave(self) -> Tensor:
        """t(q), shape [B, N]."""
        return optics.wave_transfer(self.parameters, self.band.qx, self.band.qy)

    @cached_property
    def transfer(self) -> Tensor:
        """T(q) of the modality's images, shape [B, N]; optics that differ in the dose alone are computed once."""
        distinct = self.parameters.distinct_optics()
        if distinct is None:
            return optics.image_transfer(self.parameters, self.band.qx, self.band.qy)
        parameters, index = distinct
        return optics.image_transfer(parameters, self.band.qx, self.band.qy)[index]

    @cached_property
    def magnitude(self) -> Tensor:
        """|T(q)|, shape [B, N]."""
        return self.transfer.abs()

    @cached_property
    def signed(self) -> Tensor:
        """|T(q)| with the sign of its even part's sin χ: negative χ gives dark atoms, shape [B, N]."""
        return self.magnitude * optics.contrast_sign(self.parameters, self.band.qx, self.band.qy)

    @cached_property
    def phase(self) -> Tensor:
        """χ(q) [rad], shape [B, N]."""
        return optics.aberration_phase(self.parameters, self.band.qx, self.band.qy)

    @cached_property
    def gauge_free_phase(self) -> Tensor:
        """χ(q) without its mean and without the tilt that only shifts the image [rad], shape [B, N]."""
        return self.phase - self._gauge @ torch.stack([torch.ones_like(self.band.qx), self.band.qx, self.band.qy])

    @cached_property
    def delocalisation(self) -> Tensor:
        """|∇χ|/2π [Å], shape [B, N]."""
        return optics.aberration_gradient(self.parameters, self.band.qx, self.band.qy).abs() / (2 * math.pi)

    @cached_property
    def snr(self) -> Tensor:
        """Spectral signal-to-noise ratio 4 P |T|² dose of a weak phase object under shot noise, shape [B, N]."""
        dose = self.parameters.finite_dose[:, None]
        return 4 * self.band.object_power * self.magnitude**2 * dose


def gauge(parameters: Parameters, band: Band, nodes: int) -> Tensor:
    """Return the weighted least-squares fit of a + b·q to χ over the band, shape [B, 3]: a [rad], b [rad·Å]."""
    normal, moments = torch.zeros(()), torch.zeros(())
    for piece in band.split(nodes):
        basis = torch.stack([torch.ones_like(piece.qx), piece.qx, piece.qy])
        normal = normal + (basis * piece.weight) @ basis.T
        moments = moments + optics.aberration_phase(parameters, piece.qx, piece.qy) @ (basis * piece.weight).T
    return torch.linalg.solve(normal, moments.T).T
