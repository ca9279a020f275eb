"""STEM: where a specimen's atoms are is stored, and a scanned image is a cheap function of that, condition and seed.

No wave is propagated. The structure factor of each element is summed in slices across the beam; each slice meets the probe focused to its
depth. Rings outside the beam (haadf, df) add up what each atom scatters into them (`detected_scattering`), blurred by the probe's
intensity; bf, abf and icom are the first order in the projected phase (`optics.probe`). Thermal motion, independent for all atoms
(Einstein), blurs both by exp(−2π² u² q²): on average an atom scatters to a ring in whole, elastically or thermally diffuse, from
where it happens to be. docs/stem.md states where this holds.

Stored of a specimen are the structure factors Σ exp(−2πi k·r / field) exp(−2π² u² q²) of the atoms of each element in each slice, complex64,
[S, E, 2R + 1, R + 1], for integer frequencies k_x from −R to R and k_y from 0 to R; elements rise in atomic number.
"""

import functools
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field
from scipy.spatial import cKDTree
from torch import Tensor

from passband.base.electron import interaction_parameter, wavelength
from passband.base.errors import BadInputError
from passband.base.frozen_model import FrozenModel
from passband.conditions import StemCondition
from passband.metrics.texture import Texture, measured_texture
from passband.optics import ProbeParameters, detected_share, probe_transfer, quadrant_weight, stack
from passband.simulation.detected_scattering import detected
from passband.simulation.imaging import normalize, pixels_across
from passband.simulation.modality import Images, JointImager, StoredSpecimen
from passband.simulation.multislice import ExitWaveConfig, deposit
from passband.simulation.particle_truth import particle_truth
from passband.simulation.recording import Poisson
from passband.specimens import Recipe, Specimen, draw_specimen
from passband.specimens.scattering import scattering_factor

_COMPLEX = torch.complex64
# Where images correlate with multislice by 0.98: thickness [Å], heavy atoms in a column, and source [Å] up to that many and with more.
_THICKEST, _LONGEST, _SOURCE = 65.0, 4.0, (0.35, 0.45)
# A weak phase [rad]: beyond, first-order images are off by more than a tenth of their contrast.
_WEAK = 0.5
# Atomic number beyond which atoms are heavy, and the distance in projection at which one stands behind another [Å].
_HEAVY, _ALIGNED = 20, 0.3
# Frequencies are left out where the source leaves less than this of the transfer.
_LEAST = 1e-4
# Specimens whose images give the texture of a condition.
_SEEN = 16
#: What is stored of specimens, in words.
STORED = "structure factors"

#: Where the scan is at each line's first pixel, x and y [Å], shape [B, n] each.
Scan = tuple[Tensor, Tensor]


class StemConfig(FrozenModel):
    """How specimens are stored for STEM.

    Attributes:
        band_per_angstrom: spatial frequencies that are stored [1/Å]: all that probes transfer, or those up to the Nyquist frequency of the scan's
            step, for images of finer scans that are resampled to it.
        slice_thickness_angstrom: of all slices [Å]; within one, the probe's focus is that of its middle.
        depth_angstrom: room for the thickest specimen [Å], with 2 Å of vacuum on either side; more room changes no image.
    """

    band_per_angstrom: float = Field(default=10 / 3, gt=0, le=20, strict=True)
    slice_thickness_angstrom: float = Field(default=8.0, gt=0, le=100, strict=True)
    depth_angstrom: float = Field(default=64.0, gt=0, le=1000, strict=True)

    @classmethod
    def of(cls, conditions: Sequence[StemCondition], depth_angstrom: float | None = None) -> "StemConfig":
        """Return the settings that hold what probes transfer, with room for a depth [Å]."""
        band = math.ceil(max(transferred(c) for c in conditions) * 100) / 100
        depth = {} if depth_angstrom is None else {"depth_angstrom": depth_angstrom}
        return cls(band_per_angstrom=band, **depth)

    @property
    def slices(self) -> int:
        """Slices across the beam."""
        return max(math.ceil(self.depth_angstrom / self.slice_thickness_angstrom - 1e-9), 1)

    @property
    def targets(self) -> ExitWaveConfig:
        """The settings that masks and other targets are made with: those of HRTEM."""
        return ExitWaveConfig()

    def reach(self, field_angstrom: float) -> int:
        """Return the largest integer frequency along an axis of a field [Å]."""
        return math.floor(field_angstrom * self.band_per_angstrom + 1e-9)


def transferred(condition: StemCondition) -> float:
    """Return the spatial frequency [1/Å] up to which a condition transfers: 2α/λ, or where its source leaves next to nothing."""
    source = condition.source_size_angstrom
    blurred = math.sqrt(-math.log(_LEAST) / 2) / (math.pi * source) if source else math.inf
    return min(condition.cutoff_per_angstrom, blurred)


def elements(displacements: dict[str, float]) -> tuple[int, ...]:
    """Return the atomic numbers of elements by symbol, in the order in which they are stored."""
    return tuple(sorted(atomic_numbers[symbol] for symbol in displacements))


def stored_shape(recipe: Recipe, config: StemConfig) -> tuple[int, ...]:
    """Return the shape [S, E, 2R + 1, R + 1] of what is stored of a specimen."""
    reach = config.reach(recipe.field_angstrom)
    return config.slices, len(recipe.displacements()), 2 * reach + 1, reach + 1


def check_memory(recipe: Recipe, config: StemConfig, memory: int) -> None:
    """Accept any memory [bytes]: a specimen takes some tens of MB to store."""


def store(
    recipe: Recipe,
    specimens: Sequence[Specimen],
    indices: Sequence[int],
    config: StemConfig,
    *,
    device: torch.device,
    memory: int | None = None,
) -> list[StoredSpecimen]:
    """Return what is stored of specimens; a BadInputError if one is thicker than there is room for."""
    motion = recipe.displacements()
    return [StoredSpecimen(structure_factors(one.atoms, motion, config).numpy()) for one in specimens]


def scatter(recipe: Recipe, indices: Sequence[int], config: StemConfig) -> tuple[Tensor, Tensor]:
    """Return what is stored of some specimens, complex64 [N, S, E, 2R + 1, R + 1], and their masks, bool [N, m, m]: those of HRTEM.

    Raises:
        BadInputError: if a specimen cannot be drawn, or is thicker than there is room for.
    """
    specimens = [draw_specimen(recipe, index) for index in indices]
    masks = [torch.from_numpy(particle_truth(recipe, specimen, config.targets)) for specimen in specimens]
    motion = recipe.displacements()
    return torch.stack([structure_factors(one.atoms, motion, config) for one in specimens]), torch.stack(masks)


def structure_factors(atoms: Atoms, thermal_displacement_angstrom: dict[str, float], config: StemConfig) -> Tensor:
    """Return what is stored of the atoms of a cell of field × field × height, complex64 [S, E, 2R + 1, R + 1].

    Displacements are standard deviations per axis, by element [Å]: of all elements that are stored.
    """
    field, height = float(atoms.cell[0, 0]), float(atoms.cell[2, 2])
    if height > config.depth_angstrom + 1e-6:
        raise BadInputError(
            f"a specimen takes {height:.1f} Å along the beam, and {config.depth_angstrom:g} Å are stored",
            value=height,
            limit=config.depth_angstrom,
            remedy=f"use thinner specimens, or in a study set stem.depth_angstrom to {math.ceil(height)} or more",
        )
    numbers, reach = elements(thermal_displacement_angstrom), config.reach(field)
    # The grid of the atoms is at most 0.1 Å, and holds three times the band.
    n = max(math.ceil(10 * field - 1e-9), 3 * reach)
    element = np.searchsorted(numbers, atoms.numbers)
    index = np.clip((atoms.positions[:, 2] / config.slice_thickness_angstrom).astype(int), 0, config.slices - 1)
    order = np.argsort(index * len(numbers) + element, kind="stable")
    plane = (index * len(numbers) + element)[order]
    places = torch.from_numpy(np.ascontiguousarray(atoms.positions[order, :2].T)) / field * n
    kx, ky = frequencies(reach)
    q2 = (kx**2 + ky**2) / field**2
    kernel = torch.from_numpy(deposit.spectrum(n))
    within = kernel[kx[:, 0].long()][:, None] * kernel[: reach + 1]
    factors = torch.zeros((config.slices, len(numbers), 2 * reach + 1, reach + 1), dtype=_COMPLEX)
    for number in np.unique(plane).tolist():
        begin, end = np.searchsorted(plane, [number, number + 1])
        slot = divmod(number, len(numbers))
        spread = deposit.Spread.of(places[:, begin:end], torch.zeros(end - begin, dtype=torch.long), n, torch.float32)
        # The density lies transposed, y before x.
        spectrum = torch.fft.rfft2(spread.density(0, end - begin, 1)[0].T)
        motion = thermal_displacement_angstrom[chemical_symbols[numbers[slot[1]]]]
        damped = torch.exp(-2 * (math.pi * motion) ** 2 * q2) / within
        factors[slot] = spectrum[kx[:, 0].long(), : reach + 1] * damped
    return factors


def frequencies(reach: int) -> tuple[Tensor, Tensor]:
    """Return the integer frequencies that are stored, float64, shape [2R + 1, R + 1] each."""
    kx = torch.arange(-reach, reach + 1, dtype=torch.float64)
    ky = torch.arange(reach + 1, dtype=torch.float64)
    return kx[:, None].expand(-1, reach + 1), ky.expand(2 * reach + 1, -1)


def warnings(condition: StemCondition, atoms: Sequence[Atoms]) -> list[str]:
    """Return what of cells of atoms lies outside the domain in which images hold (docs/stem.md), a line each."""
    if condition.detector.is_incoherent:
        return _channelling(condition, atoms)
    peak = max(largest_phase(condition, one) for one in atoms)
    if peak < _WEAK:
        return []
    return [
        f"the phase of the specimen reaches {peak:.2g} rad, beyond a weak phase object ({_WEAK:g}): {condition.detector.kind} images are of first order; "
        "use a thinner or lighter specimen"
    ]


def _channelling(condition: StemCondition, atoms: Sequence[Atoms]) -> list[str]:
    found = []
    height = max(float(one.cell[2, 2]) for one in atoms)
    if height > _THICKEST:
        found.append(
            f"a specimen is {height:.0f} Å thick; haadf images without multiple scattering were compared with multislice up to {_THICKEST:.0f} Å"
        )
    column, source = max(map(_column, atoms)), condition.source_size_angstrom
    needed = _SOURCE[1] if column > _LONGEST else _SOURCE[0]
    if column and source < needed:
        found.append(
            f"source_size_angstrom {source:g} resolves columns of heavy atoms ({column:.2g} behind one another on average), whose contrast channelling "
            f"changes; with {needed:g} or more, images correlate with multislice by 0.98"
        )
    return found


def _column(atoms: Atoms) -> float:
    """Return how many of the heavy atoms (beyond Ca) lie within 0.3 Å of each in projection, itself counted, on average; 0 without any."""
    places, field = atoms.positions[atoms.numbers > _HEAVY, :2], float(atoms.cell[0, 0])
    if not len(places):
        return 0.0
    tree = cKDTree(places % field % field, boxsize=field)
    return tree.count_neighbors(tree, _ALIGNED) / len(places)


def largest_phase(condition: StemCondition, atoms: Atoms) -> float:
    """Return the largest projected phase [rad] within the probe's band, its mean left out."""
    field, still = float(atoms.cell[0, 0]), dict.fromkeys(atoms.get_chemical_symbols(), 0.0)
    config = StemConfig(band_per_angstrom=condition.cutoff_per_angstrom, depth_angstrom=float(atoms.cell[2, 2]))
    imager = Imager(condition, field, config, elements(still))
    spectrum = (imager._objects * structure_factors(atoms, still, config).sum(0)).sum(0)
    return float(imager._at_places(spectrum, imager._even).max())


def power(
    stored: Tensor, conditions: Sequence[StemCondition], recipe: Recipe, config: StemConfig
) -> tuple[Tensor, Tensor]:
    """Return |q| [1/Å] and the mean power spectral density [Å²] of what the first condition's detector sees of stored specimens [N, S, E, …]."""
    field, made = recipe.field_angstrom, imager(conditions[0], recipe, config)
    spectrum = (made._objects * made._within(stored).sum(1)).sum(1)
    kx, ky = frequencies(made._reach)
    radius = torch.hypot(kx, ky).round().long()
    inside = (radius > 0) & (radius <= made._reach)
    mean = spectrum.abs().square().double().mean(0) * field**2
    total = torch.zeros(made._reach + 1, dtype=torch.float64).index_add_(0, radius[inside], mean[inside])
    count = torch.bincount(radius[inside], minlength=made._reach + 1)
    return torch.arange(1, made._reach + 1, dtype=torch.float64) / field, (total / count.clamp_min(1))[1:]


def textures(
    sets: Sequence[Sequence[StemCondition]], stored: Tensor, masks: Tensor, recipe: Recipe, config: StemConfig
) -> Texture:
    """Return the texture of images of stored specimens under sets of conditions, measured on images with noise; specimens take turns."""
    rows = []
    for conditions in sets:
        images, truth = [], []
        for i, condition in enumerate(conditions):
            some = slice(i % len(stored), min(len(stored), _SEEN), len(conditions))
            made = imager(condition, recipe, config).images(stored[some], masks[some], seed=0)
            images.append(normalize(made.counts))
            truth.append(made.masks)
        rows.append(measured_texture(torch.cat(images), torch.cat(truth), conditions[0].pixel_size_angstrom))
    return Texture.joined(rows)


def imager(condition: StemCondition, recipe: Recipe, config: StemConfig) -> "Imager":
    """Return what makes images of a recipe's specimens under a condition; see `Imager`, also for errors."""
    return Imager(condition, recipe.field_angstrom, config, elements(recipe.displacements()))


class Imager:
    """Makes images of stored specimens under one condition."""

    #: Physical pixels along a side of one of the image.
    binning = 1

    def __init__(self, condition: StemCondition, field_angstrom: float, config: StemConfig, numbers: tuple[int, ...]):
        """Prepare images of a field [Å] with elements of these atomic numbers.

        Where the stored band ends at the scan's Nyquist frequency, images are those of finer scans that were resampled to its step: nothing is aliased.

        Raises:
            BadInputError: if the step of the scan does not divide the field, or if the probe transfers more than the stored band.
        """
        end = transferred(condition)
        step = condition.pixel_size_angstrom
        resampled = math.isclose(config.band_per_angstrom, 1 / (2 * step))
        if end > config.band_per_angstrom + 1e-9 and not resampled:
            raise BadInputError(
                f"a probe of convergence_semiangle_mrad {condition.convergence_semiangle_mrad:g} transfers up to {end:.3g} 1/Å, and {config.band_per_angstrom:.3g} 1/Å "
                f"are stored; raise stem.band_per_angstrom to {math.ceil(end * 100) / 100:g}"
            )
        self.condition, self.field_angstrom, self._config, self._numbers = condition, field_angstrom, config, numbers
        self.pixels = pixels_across(field_angstrom, step)
        self._parameters = cast(ProbeParameters, stack([condition]))
        self._reach = math.floor(min(end, config.band_per_angstrom) * field_angstrom + 1e-9)
        self._transfers = functools.cache(self._transfer_turned)

    @property
    def is_round(self) -> bool:
        """Whether the image of a turned specimen is the turned image."""
        return self.condition.is_round and not self._is_distorted

    @property
    def _is_distorted(self) -> bool:
        return self.condition.line_jitter_angstrom > 0 or self.condition.drift_angstrom > 0

    def check(self) -> None:
        """Accept all: what cannot be imaged is refused at construction."""

    def warning(self) -> None:
        """Return None: what is doubtful depends on the specimen (`warnings`)."""

    def scan(self, count: int, generator: torch.Generator) -> Scan | None:
        """Return the scans of images with drift and line jitter, for `intensity`; None for perfect ones."""
        if not self._is_distorted:
            return None
        c, device = self.condition, generator.device
        line = torch.arange(self.pixels, dtype=torch.float64, device=device)
        gone = c.drift_angstrom * line / self.pixels
        drawn = torch.randn(count, self.pixels, generator=generator, dtype=torch.float64, device=device)
        x = c.line_jitter_angstrom * drawn - gone * math.cos(c.drift_angle_rad)
        y = line * c.pixel_size_angstrom - gone * math.sin(c.drift_angle_rad)
        return x, y.expand_as(x)

    def intensity(self, stored: Tensor, orientations: Tensor | None = None, scan: Scan | None = None) -> Tensor:
        """Return expected images, float32, shape [B, n, n], x first: the share of the beam on the detector, or the phase [rad] of icom.

        Args:
            stored: of the specimens, complex64, shape [B, S, E, 2R + 1, R + 1].
            orientations: 0 to 7, shape [B], each specimen turned by its own; None leaves all as they are.
            scan: a scan for each image; None for perfect ones.
        """
        turns = [0] * len(stored) if orientations is None else orientations.tolist()
        images = []
        for i, (factors, turn) in enumerate(zip(self._within(stored), turns, strict=True)):
            seen = (self._objects.to(stored.device) * factors).sum(1)
            # The microscope turns one way and the image back; see `symmetry`.
            spectrum = (self._transfers(turn, stored.device) * seen).sum(0)
            turned = turned_spectrum(spectrum, turn, self.condition.pixel_size_angstrom / self.field_angstrom)
            images.append(self._at_places(turned, self._even if scan is None else (scan[0][i], scan[1][i])))
        image = torch.stack(images)
        if self.condition.detector.kind in ("bf", "abf"):
            return (self._share * (1 + 2 * image)).clamp_min(0)
        return image

    def scanned(self, masks: Tensor, scan: Scan | None) -> Tensor:
        """Return masks or maps [B, m, m] on any grid of the field at the places of the scans, shape [B, n, n]."""
        x, y = [at.expand(len(masks), -1) for at in self._even] if scan is None else scan
        m, step = masks.shape[-1], self.condition.pixel_size_angstrom
        along = torch.arange(self.pixels, dtype=torch.float64, device=masks.device)[:, None] * step
        rows = ((along + x.to(masks.device)[:, None]) / self.field_angstrom * m).round().long() % m
        columns = (y.to(masks.device)[:, None] / self.field_angstrom * m).round().long() % m
        return masks[torch.arange(len(masks), device=masks.device)[:, None, None], rows, columns.expand_as(rows)]

    def record(self, intensity: Tensor, *, generator: torch.Generator, poisson: Poisson = torch.poisson) -> Tensor:
        """Return what is recorded of expected images [B, n, n]: electron counts, or the noisy phase [rad] of icom; without a dose, the images."""
        electrons = self.condition.electrons_per_pixel
        if electrons is None:
            return intensity
        if self.condition.detector.kind != "icom":
            return poisson(intensity.clamp_min(0) * electrons, generator)
        # Independent noise of both components of the centre of mass [1/Å], integrated as they are.
        count, n, device = len(intensity), self.pixels, intensity.device
        drawn = torch.randn((2, count, n, n), generator=generator, device=device)
        q = torch.fft.fftfreq(n, self.condition.pixel_size_angstrom, device=device)
        q2 = q[:, None] ** 2 + q**2
        x, y = torch.fft.fft2(self._mass_deviation / math.sqrt(electrons) * drawn)
        integral = (q[:, None] * x + q * y) / (1j * torch.where(q2 > 0, q2, 1.0))
        return intensity + torch.fft.ifft2(torch.where(q2 > 0, integral, 0)).real

    @staticmethod
    def joint(imagers: "Sequence[Imager]", device: torch.device) -> JointImager:
        """Raise ValueError: images of several conditions are made one condition after the other."""
        raise ValueError("STEM images of several conditions are made one by one")

    def images(self, stored: Tensor, masks: Tensor, *, seed: int) -> Images:
        """Return images of specimens [N, S, …] with their truth, from masks [N, m, m] on any grid of the field; the truth is scanned as the image."""
        generator = torch.Generator().manual_seed(seed)
        scan = self.scan(len(stored), generator)
        counts = self.record(self.intensity(stored, scan=scan).cpu(), generator=generator)
        return Images(counts, self.scanned(masks.cpu(), scan))

    def _within(self, stored: Tensor) -> Tensor:
        """Return the part of what is stored that the probe transfers."""
        middle = stored.shape[-1] - 1
        return stored[..., middle - self._reach : middle + self._reach + 1, : self._reach + 1]

    @functools.cached_property
    def _even(self) -> tuple[Tensor, Tensor]:
        """A perfect scan, [n] each."""
        line = torch.arange(self.pixels, dtype=torch.float64) * self.condition.pixel_size_angstrom
        return torch.zeros_like(line), line

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

    @functools.cached_property
    def _transfer(self) -> Tensor:
        """T(q) of the probe at the depth of each slice below the entrance plane, complex64, shape [S, 2R + 1, R + 1]."""
        depths = (torch.arange(self._config.slices, dtype=torch.float64) + 0.5) * self._config.slice_thickness_angstrom
        there = [self._parameters.refocused(depth[None]) for depth in depths]
        return torch.stack([probe_transfer(one, *self._frequencies)[0].to(_COMPLEX) for one in there])

    def _transfer_turned(self, orientation: int, device: torch.device) -> Tensor:
        """Return T(R q), R the matrix of an orientation."""
        back = {5: 6, 6: 5}.get(orientation, orientation)
        return turned_spectrum(self._transfer, back).to(device)

    @functools.cached_property
    def _objects(self) -> Tensor:
        """What one atom of each element contributes to the spectrum before the probe, float32, shape [E, 2R + 1, R + 1]."""
        return torch.stack([self._object(number) for number in self._numbers])

    def _object(self, number: int) -> Tensor:
        qx, qy = self._frequencies
        q2, c = qx**2 + qy**2, self.condition
        if c.detector.is_incoherent:
            values = torch.from_numpy(detected(number, c, q2.sqrt().numpy()))
        else:
            values = interaction_parameter(c.energy_ev) * scattering_factor(number, q2)
            # The mean phase is not seen.
            values[self._reach, 0] = 0
        return (values / self.field_angstrom**2).to(torch.float32)

    def _at_places(self, spectrum: Tensor, places: Scan) -> Tensor:
        """Return the real image of a half spectrum [2R + 1, R + 1] at a scan's places, x and y of n lines, shape [n, n]."""
        device, reach = spectrum.device, self._reach
        k = torch.arange(-reach, reach + 1, dtype=torch.float64, device=device)
        half = torch.full((reach + 1,), 2.0, device=device)
        half[0] = 1

        def waves(frequency: Tensor, at: Tensor) -> Tensor:
            angle = 2 * math.pi / self.field_angstrom * frequency[:, None] * at.to(device)
            return torch.polar(torch.ones_like(angle), angle).to(_COMPLEX)

        along = waves(k, self._even[1])
        if places is self._even:
            return (along.T @ ((spectrum * half) @ along[reach:])).real
        lines = ((spectrum * half) @ waves(k[reach:], places[1])) * waves(k, places[0])
        return (along.T @ lines).real


def turned_spectrum(spectrum: Tensor, orientation: int, step: float = 0.0) -> Tensor:
    """Return half spectra [..., 2R + 1, R + 1] of real images turned as `symmetry.turn` turns pixels that are `step` fields apart."""
    reach = spectrum.shape[-1] - 1
    kx, ky = frequencies(reach)

    def shifted(k: Tensor) -> Tensor | float:
        return torch.polar(torch.ones_like(k), 2 * math.pi * step * k).to(_COMPLEX).to(spectrum.device) if step else 1.0

    if orientation & 1:
        spectrum = spectrum.flip(-2) * shifted(kx)
    if orientation & 2:
        spectrum = spectrum.flip(-2).conj() * shifted(ky)
    if orientation & 4:
        positive, negative = spectrum[..., reach:, :], spectrum[..., : reach + 1, :].flip(-2)
        below = negative.transpose(-2, -1).conj()[..., 1:, :].flip(-2)
        spectrum = torch.cat([below, positive.transpose(-2, -1)], -2)
    return spectrum.resolve_conj()
