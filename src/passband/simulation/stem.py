"""STEM: where a specimen's atoms are is stored, and a scanned image is a cheap function of that, condition and seed.

No wave is propagated. The structure factor of each element is summed in slices across the beam; each slice meets the probe focused to its
depth. Rings outside the beam (haadf, df) add up what each atom scatters into them (`detected_scattering`), blurred by the probe's
intensity; bf, abf and icom are the first order in the projected phase (`optics.probe`). Thermal motion, independent for all atoms
(Einstein), blurs both by exp(−2π² u² q²): on average an atom scatters to a ring in whole, elastically or thermally diffuse, from
where it happens to be. docs/stem.md states where this holds.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from pydantic import Field
from scipy.spatial import cKDTree
from torch import Tensor

from passband.base.electron import interaction_parameter, wavelength
from passband.base.errors import BadInputError
from passband.base.frozen_model import FrozenModel
from passband.conditions import StemCondition
from passband.optics import ProbeParameters, detected_share, probe_transfer, quadrant_weight, stack
from passband.simulation.detected_scattering import detected
from passband.simulation.imaging import pixels_across
from passband.simulation.modality import Images
from passband.simulation.multislice import ExitWaveConfig, deposit
from passband.simulation.particle_truth import particle_truth
from passband.specimens import Recipe, draw_specimen
from passband.specimens.scattering import scattering_factor

_COMPLEX = torch.complex64
# Where images correlate with multislice by 0.98: thickness [Å], heavy atoms in a column, and source [Å] up to that many and with more.
_THICKEST, _LONGEST, _SOURCE = 65.0, 4.0, (0.35, 0.45)
# A weak phase [rad]: beyond, first-order images are off by more than a tenth of their contrast.
_WEAK = 0.5
# Atomic number beyond which atoms are heavy, and the distance in projection at which one stands behind another [Å].
_HEAVY, _ALIGNED = 20, 0.3


class StemConfig(FrozenModel):
    """How specimens are stored for STEM.

    Attributes:
        sampling_angstrom: grid of the atoms [Å]: spatial frequencies up to a third of its inverse are stored.
        slice_thickness_angstrom: within a slice, the probe's focus is that of its middle [Å], at most.
    """

    sampling_angstrom: float = Field(default=0.1, gt=0, le=0.5, strict=True)
    slice_thickness_angstrom: float = Field(default=8.0, gt=0, le=100, strict=True)

    @classmethod
    def of(cls, condition: StemCondition) -> "StemConfig":
        """Return the coarsest grid, of at most 0.1 Å, that holds what a probe transfers and is no coarser than the scan, down to 0.02 Å."""
        needed = min(1 / (3 * condition.cutoff_per_angstrom), condition.pixel_size_angstrom, 0.1)
        return cls(sampling_angstrom=max(needed, 0.02))

    @property
    def band_per_angstrom(self) -> float:
        """Spatial frequencies that are stored [1/Å]."""
        return 1 / (3 * self.sampling_angstrom)


@dataclass(frozen=True)
class Scatterers:
    """Atoms of one specimen in slices across the beam.

    Attributes:
        factors: Σ exp(−2πi k·r / field) exp(−2π² u² q²) over the atoms of each element in each slice, for integer frequencies k,
            complex64, shape [S, E, 2R + 1, R + 1]: k_x from −R to R, k_y from 0 to R.
        numbers: atomic number of each element, shape [E].
        field_angstrom: side of the periodic field [Å].
        thickness_angstrom: of a slice [Å].
        column: how many heavy atoms (beyond Ca) stand behind one another, to 0.3 Å, on average; 0 without any.
    """

    factors: Tensor
    numbers: tuple[int, ...]
    field_angstrom: float
    thickness_angstrom: float
    column: float


def scatter(recipe: Recipe, indices: Sequence[int], config: StemConfig) -> tuple[list[Scatterers], Tensor]:
    """Return what is stored of some specimens, and their masks, bool [N, m, m]: those of HRTEM.

    Raises:
        BadInputError: if a specimen cannot be drawn.
    """
    specimens = [draw_specimen(recipe, index) for index in indices]
    masks = [torch.from_numpy(particle_truth(recipe, specimen, ExitWaveConfig())) for specimen in specimens]
    return [scatterers(specimen.atoms, recipe.displacements(), config) for specimen in specimens], torch.stack(masks)


def scatterers(atoms: Atoms, thermal_displacement_angstrom: dict[str, float], config: StemConfig) -> Scatterers:
    """Return the structure factors of a cell of field × field × height; displacements are standard deviations per axis, by element [Å]."""
    field, height = float(atoms.cell[0, 0]), float(atoms.cell[2, 2])
    n = math.ceil(field / config.sampling_angstrom - 1e-9)
    reach = math.floor(field * config.band_per_angstrom + 1e-9)
    elements, element = np.unique(atoms.numbers, return_inverse=True)
    count = max(math.ceil(height / config.slice_thickness_angstrom - 1e-9), 1)
    index = np.clip((atoms.positions[:, 2] / height * count).astype(int), 0, count - 1)
    order = np.argsort(index * len(elements) + element, kind="stable")
    plane = (index * len(elements) + element)[order]
    places = torch.from_numpy(np.ascontiguousarray(atoms.positions[order, :2].T)) / field * n
    kx, ky = frequencies(reach)
    q2 = (kx**2 + ky**2) / field**2
    kernel = torch.from_numpy(deposit.spectrum(n))
    within = kernel[kx[:, 0].long()][:, None] * kernel[: reach + 1]
    factors = torch.zeros((count, len(elements), 2 * reach + 1, reach + 1), dtype=_COMPLEX)
    for number in np.unique(plane).tolist():
        begin, end = np.searchsorted(plane, [number, number + 1])
        slot = divmod(number, len(elements))
        spread = deposit.Spread.of(places[:, begin:end], torch.zeros(end - begin, dtype=torch.long), n, torch.float32)
        # The density lies transposed, y before x.
        spectrum = torch.fft.rfft2(spread.density(0, end - begin, 1)[0].T)
        motion = thermal_displacement_angstrom[chemical_symbols[elements[slot[1]]]]
        damped = torch.exp(-2 * (math.pi * motion) ** 2 * q2) / within
        factors[slot] = spectrum[kx[:, 0].long(), : reach + 1] * damped
    column = _column(atoms.positions[atoms.numbers > _HEAVY, :2], field)
    return Scatterers(factors, tuple(elements.tolist()), field, height / count, column)


def _column(places: np.ndarray, field: float) -> float:
    """Return how many of the atoms at places [N, 2] [Å] of a periodic field lie within 0.3 Å of each, itself counted, on average."""
    if not len(places):
        return 0.0
    tree = cKDTree(places % field % field, boxsize=field)
    return tree.count_neighbors(tree, _ALIGNED) / len(places)


def frequencies(reach: int) -> tuple[Tensor, Tensor]:
    """Return the integer frequencies of `Scatterers.factors`, float64, shape [2R + 1, R + 1] each."""
    kx = torch.arange(-reach, reach + 1, dtype=torch.float64)
    ky = torch.arange(reach + 1, dtype=torch.float64)
    return kx[:, None].expand(-1, reach + 1), ky.expand(2 * reach + 1, -1)


class Imager:
    """Makes images of `Scatterers` under one condition."""

    def __init__(self, condition: StemCondition, field_angstrom: float, config: StemConfig):
        """Prepare images of a field [Å].

        Raises:
            BadInputError: if the step of the scan does not divide the field or is finer than the grid of the atoms, or if the probe
                transfers more than the stored band.
        """
        step, sampling = condition.pixel_size_angstrom, config.sampling_angstrom
        if step < sampling * (1 - 1e-9):
            raise BadInputError(
                f"pixel_size_angstrom {step:g} is finer than the grid of the potential, {sampling:g} Å; scan in steps of at least {sampling:g}, or lower "
                "sampling_angstrom"
            )
        if condition.cutoff_per_angstrom > config.band_per_angstrom:
            finest = 1 / (3 * condition.cutoff_per_angstrom)
            raise BadInputError(
                f"a probe of convergence_semiangle_mrad {condition.convergence_semiangle_mrad:g} transfers up to {condition.cutoff_per_angstrom:.3g} 1/Å, beyond the "
                f"{config.band_per_angstrom:.3g} 1/Å that a sampling_angstrom of {sampling:g} stores; lower it to {finest:.3g}"
            )
        self.condition, self.field_angstrom = condition, field_angstrom
        self.pixels = pixels_across(field_angstrom, step)
        self._parameters = cast(ProbeParameters, stack([condition]))
        self._reach = math.floor(condition.cutoff_per_angstrom * field_angstrom)
        self._transfers = functools.cache(self._transfer_at)
        self._objects = functools.cache(self._object)

    def intensity(self, stored: Scatterers, places: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Return the expected image, float32, shape [n, n], x first: the share of the beam on the detector, or the phase [rad] of icom.

        Args:
            stored: the specimen.
            places: where the scan is at each line's first pixel, x and y [Å], shape [n] each; None for a perfect scan (`scan`).
        """
        if places is None:
            even = torch.arange(self.pixels, dtype=torch.float64) * self.condition.pixel_size_angstrom
            places = torch.zeros_like(even), even
        spectrum = torch.zeros((2 * self._reach + 1, self._reach + 1), dtype=_COMPLEX)
        objects = torch.stack([self._objects(number) for number in stored.numbers])
        for i, factors in enumerate(stored.factors[(..., *self._band(stored))]):
            spectrum += self._transfers((i + 0.5) * stored.thickness_angstrom) * (objects * factors).sum(0)
        image = _at_places(spectrum, self.pixels, self.condition.pixel_size_angstrom, self.field_angstrom, places)
        if self.condition.detector.kind in ("bf", "abf"):
            return (self._share * (1 + 2 * image)).clamp_min(0)
        return image

    def scan(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return the places of a scan with drift and line jitter, for `intensity`: x and y of each line's first pixel [Å], shape [n]."""
        c = self.condition
        line = torch.arange(self.pixels, dtype=torch.float64)
        gone = c.drift_angstrom * line / self.pixels
        jitter = c.line_jitter_angstrom * torch.randn(self.pixels, generator=generator, dtype=torch.float64)
        return jitter - gone * math.cos(c.drift_angle_rad), line * c.pixel_size_angstrom - gone * math.sin(
            c.drift_angle_rad
        )

    def warnings(self, stored: Sequence[Scatterers]) -> list[str]:
        """Return what of these specimens lies outside the domain of the images (docs/stem.md), a line each."""
        if self.condition.detector.is_incoherent:
            return self._channelling(stored)
        peak = max(float(self._phase(one).max()) for one in stored)
        if peak < _WEAK:
            return []
        return [
            f"the phase of the specimen reaches {peak:.2g} rad, beyond a weak phase object ({_WEAK:g}): {self.condition.detector.kind} images are of first order; "
            "use a thinner or lighter specimen"
        ]

    def _channelling(self, stored: Sequence[Scatterers]) -> list[str]:
        warnings = []
        height = max(len(one.factors) * one.thickness_angstrom for one in stored)
        if height > _THICKEST:
            warnings.append(
                f"a specimen is {height:.0f} Å thick; haadf images without multiple scattering were compared with multislice up to {_THICKEST:.0f} Å"
            )
        column, source = max(one.column for one in stored), self.condition.source_size_angstrom
        needed = _SOURCE[1] if column > _LONGEST else _SOURCE[0]
        if column and source < needed:
            warnings.append(
                f"source_size_angstrom {source:g} resolves columns of heavy atoms ({column:.2g} behind one another on average), whose contrast channelling "
                f"changes; with {needed:g} or more, images correlate with multislice by 0.98"
            )
        return warnings

    def _phase(self, stored: Scatterers) -> Tensor:
        """Return the projected phase [rad] within the probe's band, without its mean."""
        factors = stored.factors[(..., *self._band(stored))].sum(0)
        spectrum = (torch.stack([self._objects(number) for number in stored.numbers]) * factors).sum(0)
        even = torch.arange(self.pixels, dtype=torch.float64) * self.condition.pixel_size_angstrom
        return _at_places(
            spectrum, self.pixels, self.condition.pixel_size_angstrom, self.field_angstrom, (0 * even, even)
        )

    def _band(self, stored: Scatterers) -> tuple[slice, slice]:
        """Return where in the stored frequencies those of the probe are."""
        middle = stored.factors.shape[-1] - 1
        return slice(middle - self._reach, middle + self._reach + 1), slice(0, self._reach + 1)

    def record(self, image: Tensor, *, generator: torch.Generator) -> Tensor:
        """Return what is recorded of an expected image [n, n]: electron counts, or the noisy phase [rad] of icom; without a dose, the image."""
        electrons = self.condition.electrons_per_pixel
        if electrons is None:
            return image
        if self.condition.detector.kind != "icom":
            return torch.poisson(image.clamp_min(0) * electrons, generator=generator)
        # Independent noise of both components of the centre of mass [1/Å], integrated as they are.
        noise = self._mass_deviation / math.sqrt(electrons) * torch.randn((2, *image.shape), generator=generator)
        q = torch.fft.fftfreq(len(image), self.condition.pixel_size_angstrom)
        q2 = q[:, None] ** 2 + q**2
        x, y = torch.fft.fft2(noise)
        integral = (q[:, None] * x + q * y) / (1j * torch.where(q2 > 0, q2, 1.0))
        return image + torch.fft.ifft2(torch.where(q2 > 0, integral, 0)).real

    def images(self, stored: Sequence[Scatterers], masks: Tensor, *, seed: int) -> Images:
        """Return images of specimens with their truth, from masks [N, m, m] on any grid of the field; the truth is scanned as the image."""
        generator = torch.Generator().manual_seed(seed)
        counts, truth = [], []
        for one, mask in zip(stored, masks, strict=True):
            places = self.scan(generator)
            counts.append(self.record(self.intensity(one, places), generator=generator))
            truth.append(self._mask(mask, places))
        return Images(torch.stack(counts), torch.stack(truth))

    def _mask(self, mask: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
        m = len(mask)
        x = torch.arange(self.pixels, dtype=torch.float64)[:, None] * self.condition.pixel_size_angstrom + places[0]
        nearest = [(at / self.field_angstrom * m).round().long() % m for at in (x, places[1].expand_as(x))]
        return mask[nearest[0], nearest[1]]

    @functools.cached_property
    def _share(self) -> float:
        return float(detected_share(self._parameters))

    @functools.cached_property
    def _mass_deviation(self) -> float:
        """Standard deviation per axis of the centre of mass that one electron gives [1/Å]: in a disc, or by quadrants."""
        radius = 1e-3 * self.condition.convergence_semiangle_mrad / wavelength(self.condition.energy_ev)
        if not self.condition.detector.quadrants:
            return radius / 2
        # Half of the electrons that are seen go to the two quadrants of an axis.
        return quadrant_weight(radius) * math.sqrt(self._share / 2)

    @functools.cached_property
    def _frequencies(self) -> tuple[Tensor, Tensor]:
        kx, ky = frequencies(self._reach)
        return kx / self.field_angstrom, ky / self.field_angstrom

    def _transfer_at(self, depth: float) -> Tensor:
        """Return T(q) of the probe at a depth [Å] below the entrance plane."""
        there = self._parameters.refocused(torch.tensor([depth], dtype=torch.float64))
        return probe_transfer(there, *self._frequencies)[0].to(_COMPLEX)

    def _object(self, number: int) -> Tensor:
        """Return what one atom of an element contributes to the spectrum before the probe, for a field of unit density."""
        qx, qy = self._frequencies
        q2, c = qx**2 + qy**2, self.condition
        if c.detector.is_incoherent:
            values = torch.from_numpy(detected(number, c, q2.sqrt().numpy()))
        else:
            values = interaction_parameter(c.energy_ev) * scattering_factor(number, q2)
            # The mean phase is not seen.
            values[self._reach, 0] = 0
        return (values / self.field_angstrom**2).to(torch.float32)


def _at_places(spectrum: Tensor, n: int, step: float, field: float, places: tuple[Tensor, Tensor]) -> Tensor:
    """Return a real image with a half spectrum [2R + 1, R + 1] at n steps along x from the places of n lines, shape [n, n]."""
    reach = spectrum.shape[-1] - 1
    x0, y0 = places
    k = torch.arange(-reach, reach + 1, dtype=torch.float64)
    half = torch.full((reach + 1,), 2.0)
    half[0] = 1

    def waves(frequency: Tensor, at: Tensor) -> Tensor:
        angle = 2 * math.pi / field * frequency[:, None] * at
        return torch.polar(torch.ones_like(angle), angle).to(_COMPLEX)

    lines = ((spectrum * half) @ waves(k[reach:], y0)) * waves(k, x0)
    return (waves(k, torch.arange(n, dtype=torch.float64) * step).T @ lines).real
