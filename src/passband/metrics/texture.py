"""The texture of film and particles under a condition: how much each of eleven rings holds of the power of an image.

Ours. A network fails where the film, or the particles, look like nothing that it was trained on, and a share of the training
transfer, as σ is, cannot see that. Texture is *analytic*, from the transfer of the wave and what a family of specimens scatters,
or *measured*, on images with masks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from passband.conditions import Condition
from passband.optics import curve_at, motion_envelope, noise_power, stack, wave_transfer
from passband.optics.parameters import HIGHEST_DOSE

#: Limits of the rings [1/Å].
EDGES = torch.linspace(0.05, 1.0, 12, dtype=torch.float64)
# Part of the power of an image that counts as none in a ring: far below the shot noise of a usual image.
_FLOOR = 1e-2
# Rings [1/Å] that scattering is tabulated on, and directions over which transfer is averaged.
_STEP, _RINGS, _DIRECTIONS = 0.02, 60, 64
# Conditions whose transfer is in work at once.
_AT_ONCE = 128
_CENTRES = (torch.arange(_RINGS, dtype=torch.float64) + 0.5) * _STEP
# Standard deviation of the Gaussian that averages local power in measured texture [Å].
_AVERAGED = 2.0


@dataclass(frozen=True)
class Scattering:
    """What film and particles of a family scatter, on rings of 0.02 1/Å up to 1.2 1/Å; an exit wave without scattering is 1.

    Attributes:
        power: mean |ψ_q|² summed over the frequencies of a ring, of film and of particles, shape [2, 60].
        conjugate: mean ψ_q ψ_−q, which tells phase from amplitude, complex, shape [2, 60].
        share: of the field that is film, and particles, shape [2].
    """

    power: Tensor
    conjugate: Tensor
    share: Tensor

    def to_dict(self) -> dict[str, list[Any]]:
        """Return plain numbers, from which `from_dict` restores it."""
        parts = {"conjugate_real": self.conjugate.real, "conjugate_imaginary": self.conjugate.imag}
        return {name: part.tolist() for name, part in {"power": self.power, **parts, "share": self.share}.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, list[Any]]) -> "Scattering":
        """Return what `to_dict` has written.

        Raises:
            KeyError, TypeError, ValueError: if it is something else.
        """
        power, real, imaginary = (
            torch.tensor(content[name], dtype=torch.float64).view(2, _RINGS)
            for name in ("power", "conjugate_real", "conjugate_imaginary")
        )
        return cls(power, torch.complex(real, imaginary), torch.tensor(content["share"], dtype=torch.float64).view(2))


@dataclass(frozen=True)
class Texture:
    """Logarithm of the share of the image's power in each ring, 0.01 added, under B conditions.

    Attributes:
        film: shape [B, 11].
        particle: shape [B, 11].
    """

    film: Tensor
    particle: Tensor

    @property
    def contrast(self) -> Tensor:
        """How much particles stand out from the film in each ring, shape [B, 11]."""
        return self.particle - self.film

    @property
    def numbers(self) -> Tensor:
        """Film, particles and contrast side by side, shape [B, 33]: what laws of the loss are fitted to."""
        return torch.cat([self.film, self.particle, self.contrast], 1)

    def chosen(self, which: Tensor) -> "Texture":
        """Return the textures of some of the conditions, bool or indices."""
        return Texture(self.film[which], self.particle[which])

    @classmethod
    def joined(cls, textures: "Sequence[Texture]") -> "Texture":
        """Return the textures of several families or sets as one."""
        return cls(torch.cat([t.film for t in textures]), torch.cat([t.particle for t in textures]))


def scattering(stored: Tensor, frequencies: Tensor, masks: Tensor, field_angstrom: float) -> Scattering:
    """Return what a family scatters, from the exit waves of some of its specimens.

    Args:
        stored: coefficients of the waves, complex, shape [N, P, K].
        frequencies: integer frequencies of the coefficients, shape [K, 2].
        masks: where particles are, bool, shape [N, m, m] on any grid of the field.
        field_angstrom: side of the field [Å].

    Raises:
        ValueError: if the specimens have no particle, or no film.
    """
    k, grid = frequencies, 2 * int(frequencies.abs().max()) + 2
    share = torch.stack([(~masks).double().mean(), masks.double().mean()])
    if not share.all():
        raise ValueError("texture needs specimens with particles and with film between them")
    inside = torch.nn.functional.interpolate(masks[:, None].double(), size=(grid, grid), mode="area")[:, 0]
    # A pixel at an edge is neither.
    weights = torch.stack([(inside == 0).double(), (inside == 1).double()])
    ring = (k.double().square().sum(1).sqrt() / field_angstrom / _STEP).long()
    centre = (k == 0).all(1)
    power = torch.zeros(2, _RINGS, dtype=torch.float64)
    conjugate = torch.zeros(2, _RINGS, dtype=torch.complex128)
    for waves, weight in zip(stored, weights.transpose(0, 1), strict=True):
        relative = (waves / waves[:, centre]).to(torch.complex64)
        for b in range(_RINGS):
            chosen = (ring == b) & ~centre
            spectrum = torch.zeros(len(waves), grid, grid, dtype=torch.complex64)
            spectrum[:, k[chosen, 0], k[chosen, 1]] = relative[:, chosen]
            wave = torch.fft.ifft2(spectrum) * grid**2
            power[:, b] += (weight * wave.abs().square().mean(0)).sum((1, 2))
            conjugate[:, b] += (weight * wave.square().mean(0)).sum((1, 2))
    area = weights.sum((1, 2, 3))[:, None]
    return Scattering(power / area, conjugate / area, share)


def texture(conditions: Sequence[Condition], specimens: Scattering) -> Texture:
    """Return the analytic texture of B conditions on a family of specimens, linear in what is scattered.

    The power of an image in a ring is 2 A ⟨|t|²⟩ + 2 Re(C ⟨t(q) t(−q)⟩) with A the power and C the conjugate scattering, averaged
    over directions, damped by motion and the detector's MTF, and shot noise. Quadrature counts as its envelopes, a measured DQE as its value at zero
    frequency, and shares are of the power up to 1.2 1/Å, whatever the pixels. What particles scatter into the film around them, by
    delocalisation, and what scatters twice is not in it.
    """
    return _texture(_ring_power(conditions, specimens), specimens.share)


def set_texture(sets: Sequence[Sequence[Condition]], specimens: Scattering) -> Texture:
    """Return the texture of S sets of conditions: of the mean power over each set's conditions."""
    everything = [c for conditions in sets for c in conditions]
    power = _ring_power(everything, specimens)
    means = torch.stack([part.mean(0) for part in power.split([len(conditions) for conditions in sets])])
    return _texture(means, specimens.share)


def measured_texture(images: Tensor, masks: Tensor, pixel_size_angstrom: float) -> Texture:
    """Return the texture of one set of images, from the mean local power of film and of particles.

    Args:
        images: zero mean and unit variance each, shape [N, n, n].
        masks: where particles are, bool, shape [N, n, n].
        pixel_size_angstrom: of the images [Å]; rings beyond half of 1 / pixel size hold nothing.

    Raises:
        ValueError: if there is no particle, or nothing else.
    """
    if not masks.any() or masks.all():
        raise ValueError("texture needs pixels of particles and of film")
    n = images.shape[-1]
    q = torch.hypot(
        torch.fft.fftfreq(n, pixel_size_angstrom)[:, None], torch.fft.rfftfreq(n, pixel_size_angstrom)
    ).double()
    blur = torch.exp(-2 * (torch.pi * _AVERAGED * q) ** 2).float()
    spectrum = torch.fft.rfft2(images)
    rows = []
    for response in _responses(q):
        ring = torch.fft.irfft2(spectrum * response.sqrt().float(), s=(n, n))
        local = torch.fft.irfft2(torch.fft.rfft2(ring.square()) * blur, s=(n, n))
        rows.append(torch.stack([local[~masks].mean(), local[masks].mean()]).double())
    film, particle = (torch.stack(rows, 1).clamp_min(0) + _FLOOR).log()
    return Texture(film[None], particle[None])


def film_excess(train: Texture, test: Texture) -> Tensor:
    """Return the largest growth of the film's log power in any ring from training to test, shape [B, B′]."""
    return (test.film[None] - train.film[:, None]).amax(-1)


def mean_contrast(textures: Texture) -> Tensor:
    """Return the rms over rings of the contrast of particles and film, shape [B]."""
    return textures.contrast.square().mean(1).sqrt()


def _responses(q: Tensor) -> Tensor:
    """Return the power that each ring takes of each |q| [1/Å], shape [11, *q]: Gaussians, of which neighbours meet at 1/e."""
    centre, half = (EDGES[:-1] + EDGES[1:]) / 2, (EDGES[1:] - EDGES[:-1]) / 2
    shape = (-1, *[1] * q.ndim)
    return torch.exp(-(((q - centre.view(shape)) / half.view(shape)) ** 2))


def speckle(conditions: Sequence[Condition], specimens: Scattering) -> Tensor:
    """Return the power of the film over that of the shot noise in each ring under B conditions, shape [B, 11]."""
    signal, noise = (part[:, 0] @ _responses(_CENTRES).T for part in _signal_and_noise(conditions, specimens))
    return signal / noise.clamp_min(torch.finfo(torch.float64).tiny)


def _ring_power(conditions: Sequence[Condition], specimens: Scattering) -> Tensor:
    """Return the power in each tabulated ring, of film and of particles, vacuum = 1, shape [B, 2, 60]."""
    signal, noise = _signal_and_noise(conditions, specimens)
    return signal + noise


def _signal_and_noise(conditions: Sequence[Condition], specimens: Scattering) -> tuple[Tensor, Tensor]:
    """Return the power of what is scattered, shape [B, 2, 60], and of the shot noise, shape [B, 1, 60], in each tabulated ring."""
    angle = torch.arange(_DIRECTIONS, dtype=torch.float64) * (2 * torch.pi / _DIRECTIONS)
    qx, qy = _CENTRES[:, None] * torch.cos(angle), _CENTRES[:, None] * torch.sin(angle)
    signals, noises = [], []
    for start in range(0, len(conditions), _AT_ONCE):
        some = conditions[start : start + _AT_ONCE]
        parameters = stack(some)
        t, opposite = wave_transfer(parameters, qx, qy), wave_transfer(parameters, -qx, -qy)
        motion = motion_envelope(parameters, qx, qy).square()
        plain = ((t.abs().square() + opposite.abs().square()) * motion).mean(-1)[:, None]
        mixed = (t * opposite * motion).mean(-1)[:, None]
        signal = specimens.power * plain + 2 * (specimens.conjugate * mixed).real
        noise = 2 * torch.pi * _CENTRES * _STEP * _noise(some)[:, None]
        pixel = torch.tensor([c.pixel_size_angstrom for c in some], dtype=torch.float64)
        sampled = 2 * pixel[:, None, None] * _CENTRES <= 1
        signals.append(signal * _mtf_squared(some)[:, None] * sampled)
        noises.append(noise * sampled)
    return torch.cat(signals), torch.cat(noises)


def _noise(conditions: Sequence[Condition]) -> Tensor:
    """Return the spectral density on the tabulated rings of noise and slow background, vacuum = 1, shape [B, 60] [Å²]."""
    rows = []
    for condition in conditions:
        detector, physical = condition.detector, condition.pixel_size_angstrom / condition.detector.binning
        dose = (condition.dose_per_angstrom2 or HIGHEST_DOSE) * detector.counted
        shape = noise_power(condition, 2 * physical * _CENTRES)
        white = (detector.readout_electrons / (dose * physical)) ** 2 + (detector.gain_residue * physical) ** 2
        length = 2 * torch.pi * condition.background_length_angstrom**2
        slow = condition.background**2 * length * torch.exp(-torch.pi * length * _CENTRES**2)
        rows.append((torch.ones_like(_CENTRES) if shape is None else shape) / dose + white + slow)
    return torch.stack(rows)


def _mtf_squared(conditions: Sequence[Condition]) -> Tensor:
    """Return MTF² · contrast² of each condition on the tabulated rings, shape [B, 60]."""
    rows = []
    for condition in conditions:
        physical = condition.pixel_size_angstrom / condition.detector.binning
        mtf, fraction = condition.detector.mtf, 2 * physical * _CENTRES
        curve = torch.ones_like(_CENTRES) if mtf is None else curve_at(mtf, fraction).double().square()
        rows.append(curve * condition.contrast**2)
    return torch.stack(rows)


def _texture(power: Tensor, share: Tensor) -> Texture:
    whole = (share[:, None] * power).sum((1, 2))
    parts = power @ _responses(_CENTRES).T / whole[:, None, None]
    film, particle = (parts + _FLOOR).log().unbind(1)
    return Texture(film, particle)
