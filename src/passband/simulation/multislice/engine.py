"""Exit waves by multislice in torch, many specimens and frozen-phonon configurations at once.

The conventional algorithm (Kirkland, Advanced Computing in Electron Microscopy (2020), section 6.4): independent atoms,
each slice's potential projected along the beam, ψ ← F⁻¹[P · F[exp(i σ_e v) ψ]] slice by slice.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from scipy.interpolate import CubicSpline
from torch import Tensor

from passband.base.electron import interaction_parameter, wavelength
from passband.base.errors import BadInputError, parameter, require
from passband.base.frequencies import disc_indices
from passband.base.identity import seed_from
from passband.simulation.multislice import deposit
from passband.simulation.multislice.atom import exponent, soft_band
from passband.simulation.multislice.exit_wave import ExitWave, ExitWaveConfig, keep_band, phonon_seed
from passband.specimens import Recipe, Specimen

#: Memory [bytes] that the configurations in work may take by default.
MEMORY = 512 * 2**20
# More than this at once [bytes] falls out of a core's share of the cache, which costs a tenth of the speed.
_CACHE = 16 * 2**20
# Share of the Nyquist frequency that waves keep, so that the product of wave and transmission does not fold into them.
_BAND = 2 / 3
# Width of the band's soft edge, in units of one over the sampling; abTEM's.
_EDGE = 0.01
# Planes of n² complex numbers that one configuration needs at the same time: wave, its transform, potentials, transmission.
_PLANES = 7


def specimen_exit_waves(
    recipe: Recipe,
    specimens: Sequence[Specimen],
    indices: Sequence[int],
    config: ExitWaveConfig,
    *,
    device: torch.device | str = "cpu",
    memory: int = MEMORY,
) -> list[ExitWave]:
    """Return the exit waves of a recipe's specimens by the engine of the settings, thermal displacements seeded by recipe and index.

    The native engine computes on a device, within a memory [bytes]. Errors are those of `exit_waves`.
    """
    seeds = [seed_from("phonons", recipe.seed, index) for index in indices]
    atoms = [specimen.atoms for specimen in specimens]
    if config.engine == "native":
        return exit_waves(atoms, config, recipe.displacements(), seeds, device=device, memory=memory)
    # abTEM takes seconds to import and is in an extra.
    require("abtem", "exit_waves.engine: abtem", "abtem")
    from passband.simulation.multislice.abtem_engine import exit_wave

    return [exit_wave(one, config, recipe.displacements(), seed) for one, seed in zip(atoms, seeds, strict=True)]


def exit_waves(
    atoms: Sequence[Atoms],
    config: ExitWaveConfig,
    thermal_displacement_angstrom: dict[str, float],
    seeds: Sequence[int],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.complex64,
    memory: int = MEMORY,
) -> list[ExitWave]:
    """Return the wave at the far face of each specimen's cell, from which defocus is measured; the beam runs along +z.

    Specimens lie in cells of field × field × height, all with the same field. The thermal displacements are standard deviations
    per axis, by element [Å], with a seed a specimen. complex128 checks complex64.

    Raises:
        BadInputError: if a configuration does not fit in `memory` [bytes], or more than 5 % of a beam leaves the band.
    """
    field = float(atoms[0].cell[0, 0])
    n = config.grid_points(field)
    device = torch.device(device)
    at_once = _configurations_at_once(n, dtype, memory, device)
    optics = _optics(field, n, config.energy_ev, device, dtype)
    todo = [
        (i, slice_atoms(specimen, config, thermal_displacement_angstrom, seed, p))
        for i, (specimen, seed) in enumerate(zip(atoms, seeds, strict=True))
        for p in range(config.phonon_configurations)
    ]
    # The last digits depend on what is transformed together. On a CPU each specimen is transformed alone, so that its wave
    # does not depend on the others; one fills the cache anyway.
    groups = [todo] if device.type != "cpu" else [[t for t in todo if t[0] == i] for i in range(len(atoms))]
    spectra: list[list[Tensor]] = [[] for _ in atoms]
    for chunk in (group[j : j + at_once] for group in groups for j in range(0, len(group), at_once)):
        for (i, _), spectrum in zip(chunk, _propagate([s for _, s in chunk], optics), strict=True):
            spectra[i].append(spectrum)
    k = disc_indices(config.band_per_angstrom * field)
    return [keep_band(torch.stack(parts), k, config) for parts in spectra]


def check_memory(config: ExitWaveConfig, field: float, memory: int) -> None:
    """Refuse a memory [bytes] that one configuration of a field [Å] does not fit in, naming what it takes."""
    if config.engine == "native":
        _configurations_at_once(config.grid_points(field), torch.complex64, memory, torch.device("cpu"))


def _configurations_at_once(n: int, dtype: torch.dtype, memory: int, device: torch.device) -> int:
    """Return how many configurations to transform together; on a CPU independent of the memory, because the last digits depend on it."""
    one = _PLANES * n * n * (8 if dtype == torch.complex64 else 16)
    count = max((_CACHE if device.type == "cpu" else memory) // one, 1)
    if count * one > memory:
        raise BadInputError(
            f"{parameter('memory')} of {memory / 1e6:.0f} MB is less than the {count * one / 1e6:.0f} MB that exit waves of {n}² samples take; "
            "allow more, or use a larger exit_waves.sampling_angstrom or a smaller field"
        )
    return count


class _Optics:
    """What all slices share: grids, what each element does to the wave, and the band limit."""

    def __init__(self, field: float, n: int, energy_ev: float, device: torch.device, dtype: torch.dtype):
        self.field, self.n, self.device, self.dtype = field, n, device, dtype
        self.real = torch.float32 if dtype == torch.complex64 else torch.float64
        self.wavelength, self.sigma = wavelength(energy_ev), interaction_parameter(energy_ev)
        self.limit, self.edge = _BAND * n / (2 * field), _EDGE * n / field
        k = np.fft.fftfreq(n, 1 / n)
        self.q2 = (k[:, None] ** 2 + k[None, :] ** 2) / field**2
        band = soft_band(np.sqrt(self.q2), self.limit, self.edge)
        self._band, self._q2 = (torch.from_numpy(a).to(device) for a in (band / n**2, self.q2))
        self.columns = math.ceil(self.limit * field) + 1
        self._factors: dict[int, Tensor] = {}

    def factor(self, number: int) -> Tensor:
        """Return the real and imaginary part of w(q) of one atom over what depositing it did to its spectrum.

        Shape [2, n, m], float; m columns hold the band.
        """
        if number not in self._factors:
            q = np.sqrt(self.q2[:, : self.columns])
            spread = deposit.spectrum(self.n)
            w = CubicSpline(*exponent(number, self.sigma, self.limit, self.edge))(q)
            w = w * soft_band(q, self.limit, self.edge)
            w = w / (spread[:, None] * spread[None, : self.columns] * self.field**2)
            self._factors[number] = torch.from_numpy(np.stack([w.real, w.imag])).to(self.device, self.real)
        return self._factors[number]

    def propagators(self, thickness: Sequence[float]) -> Tensor:
        """Return P(q) / n², band-limited, complex, shape [C or 1, n, n], for the slice thickness of each configuration [Å]."""
        kinds, kind = np.unique(thickness, return_inverse=True)
        phase = torch.from_numpy(-math.pi * self.wavelength * kinds).to(self.device)[:, None, None] * self._q2
        each = torch.polar(self._band.expand(phase.shape), phase).to(self.dtype)
        return each if len(kinds) == 1 else each[torch.from_numpy(kind).to(self.device)]


_optics = functools.lru_cache(maxsize=4)(_Optics)


@dataclass(frozen=True)
class Slices:
    """Atoms at places [N, 2] [Å], each in one of `count` slices of a thickness [Å], counted from the entrance."""

    places: np.ndarray
    numbers: np.ndarray
    index: np.ndarray
    count: int
    thickness: float


def slice_atoms(
    atoms: Atoms, config: ExitWaveConfig, thermal_displacement_angstrom: dict[str, float], seed: int, configuration: int
) -> Slices:
    """Return displaced atoms of a cell of field × field × height in slices of at most `slice_thickness_angstrom`.

    The displacements, standard deviations per axis by element [Å], are abTEM's for the same seed: one normal draw per
    atom and axis, in the order of the atoms.
    """
    elements, element = np.unique(atoms.numbers, return_inverse=True)
    sigma = np.array([thermal_displacement_angstrom[chemical_symbols[z]] for z in elements])[element]
    draws = np.random.default_rng(phonon_seed(seed, configuration)).normal(size=(len(atoms), 3))
    positions = atoms.positions + sigma[:, None] * draws
    height = float(atoms.cell[2, 2])
    count = max(math.ceil(height / config.slice_thickness_angstrom), 1)
    # An atom on the border of two slices belongs to the later one, whatever the rounding.
    edges = np.cumsum(np.full(count, height / count)) - 1e-12
    index = np.minimum(np.digitize(positions[:, 2], edges), count - 1)
    return Slices(positions[:, :2], atoms.numbers.copy(), index, count, height / count)


def _propagate(configurations: Sequence[Slices], optics: _Optics) -> Tensor:
    """Return the spectra of the exit waves, vacuum = 1 at q = 0, shape [C, n, n]."""
    n, count = optics.n, len(configurations)
    propagators = optics.propagators([c.thickness for c in configurations])
    spectrum = torch.zeros((count, n, n), dtype=optics.dtype, device=optics.device)
    spectrum[:, 0, 0] = 1
    for transmission in _transmissions(configurations, optics):
        if transmission is None:
            spectrum *= propagators * n**2
        else:
            # The factors of n² that transforms there and back leave lie in the propagator.
            psi = torch.fft.ifft2(spectrum, norm="forward")
            spectrum = torch.fft.fft2(psi.mul_(transmission)).mul_(propagators)
    return spectrum


def _transmissions(configurations: Sequence[Slices], optics: _Optics) -> Iterator[Tensor | None]:
    """Yield t(r) of each slice in turn, complex, shape [C, n, n], or None where no configuration has an atom.

    Specimens end in the same slice; the thinner ones begin later, because vacuum does not change a plane wave.
    """
    n = optics.n
    slices = max(c.count for c in configurations)
    numbers = np.concatenate([c.numbers for c in configurations])
    index = np.concatenate([c.index + slices - c.count for c in configurations])
    owner = np.repeat(np.arange(len(configurations)), [len(c.numbers) for c in configurations])
    places = np.concatenate([c.places for c in configurations]) / optics.field * n
    order = np.argsort(index, kind="stable")
    numbers, owner = numbers[order], owner[order]
    ends = np.searchsorted(index[order], np.arange(slices), side="right").tolist()
    bounds = list(zip([0, *ends[:-1]], ends, strict=True))
    # Each slice has a plane for each configuration and element in it. Everything goes to the device at once.
    elements, planes = [], np.zeros(len(numbers), dtype=np.int64)
    for begin, end in bounds:
        kinds, kind = np.unique(numbers[begin:end], return_inverse=True)
        planes[begin:end] = owner[begin:end] * len(kinds) + kind
        elements.append(kinds.tolist())
    xy, plane = (torch.from_numpy(a).to(optics.device) for a in (places[order], planes))
    for (begin, end), kinds in zip(bounds, elements, strict=True):
        if begin == end:
            yield None
            continue
        density = deposit.density(xy[begin:end], plane[begin:end], (len(configurations), len(kinds), n, n), optics.real)
        spectrum = torch.fft.rfft2(density)[..., None, :, : optics.columns]
        spectrum = (spectrum * torch.stack([optics.factor(z) for z in kinds])).sum(1)
        # One axis after the other, the first over the band alone.
        rows = torch.fft.ifft(spectrum, dim=-2, norm="forward")
        w = torch.fft.irfft(rows, n=n, dim=-1, norm="forward")
        modulus, phase = torch.exp(w[:, 0]), w[:, 1]
        yield torch.complex(torch.cos(phase).mul_(modulus), torch.sin(phase).mul_(modulus))
