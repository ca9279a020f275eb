"""Exit waves by multislice in torch, many specimens and frozen-phonon configurations at once.

The conventional algorithm (Kirkland, Advanced Computing in Electron Microscopy (2020), section 6.4): independent atoms,
each slice's potential projected along the beam, ψ ← F⁻¹[P · F[exp(i σ_e v) ψ]] slice by slice.
"""

import functools
from collections.abc import Sequence

import torch
from ase import Atoms
from torch import Tensor

from passband.base.errors import BadInputError, parameter, require
from passband.base.frequencies import disc_indices
from passband.base.gpu import free_memory
from passband.base.identity import seed_from
from passband.simulation.multislice import banded, batched
from passband.simulation.multislice.exit_wave import ExitWave, ExitWaveConfig, stored_part, stored_wave
from passband.simulation.multislice.slices import Band, slice_atoms
from passband.specimens import Recipe, Specimen

#: Memory [bytes] that the configurations in work may take on a CPU by default.
MEMORY = 512 * 2**20
# Share of a GPU's free memory to use by default.
_FREE = 0.8
_CPU = torch.device("cpu")


def specimen_exit_waves(
    recipe: Recipe,
    specimens: Sequence[Specimen],
    indices: Sequence[int],
    config: ExitWaveConfig,
    *,
    device: torch.device | str = "cpu",
    memory: int | None = None,
) -> list[ExitWave]:
    """Return the exit waves of a recipe's specimens by the engine of the settings, thermal displacements seeded by recipe and index.

    The native engine computes on a device, within a memory [bytes]; see `exit_waves`, also for errors.
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
    memory: int | None = None,
) -> list[ExitWave]:
    """Return the wave at the far face of each specimen's cell, from which defocus is measured; the beam runs along +z.

    Specimens lie in cells of field × field × height, all with the same field. The thermal displacements are standard deviations
    per axis, by element [Å], with a seed a specimen. complex128 checks complex64.

    Raises:
        BadInputError: if a configuration does not fit in `memory` [bytes], by default 512 MiB on a CPU and 80 % of what is free
            on a GPU, or more than 5 % of a beam leaves the band.
    """
    field = float(atoms[0].cell[0, 0])
    n = config.grid_points(field)
    device = torch.device(device)
    memory = _default_memory(device) if memory is None else memory
    check_memory(config, field, memory, device, dtype)
    band, k = _band(field, n, config.energy_ev), _stored(config.band_per_angstrom * field, device)
    todo = [
        (specimen, config, thermal_displacement_angstrom, seed, configuration)
        for specimen, seed in zip(atoms, seeds, strict=True)
        for configuration in range(config.phonon_configurations)
    ]
    each = config.phonon_configurations
    if _on_gpu(device):
        together, (count, slices) = len(todo), batched.plan(len(todo), n, dtype, memory)
        propagate = functools.partial(batched.propagate, band=band, dtype=dtype, device=device, slices=slices)
    else:
        # The last digits depend on what is transformed together. Each specimen is transformed alone, so that its wave does not
        # depend on the others.
        together, count = each, banded.plan(n, dtype)
        propagate = functools.partial(banded.propagate, band=band, dtype=dtype)
    parts, intensities = [], []
    for share in (todo[i : i + together] for i in range(0, len(todo), together)):
        for some in (share[i : i + count] for i in range(0, len(share), count)):
            part, intensity = stored_part(propagate([slice_atoms(*one) for one in some]), k)
            parts.append(part)
            intensities.append(intensity)
    # The first look at what a GPU computed: until here it works while the host prepares the next configurations.
    found = zip(torch.cat(parts).cpu().split(each), torch.cat(intensities).cpu().split(each), strict=True)
    return [stored_wave(part, intensity, config) for part, intensity in found]


def check_memory(
    config: ExitWaveConfig,
    field: float,
    memory: int,
    device: torch.device = _CPU,
    dtype: torch.dtype = torch.complex64,
) -> None:
    """Refuse a memory [bytes] that one configuration of a field [Å] does not fit in, naming what it takes."""
    n = config.grid_points(field)
    least = (batched if _on_gpu(device) else banded).least_memory(n, dtype)
    if config.engine == "native" and least > memory:
        raise BadInputError(
            f"{parameter('memory')} of {memory / 1e6:.0f} MB is less than the {least / 1e6:.0f} MB that exit waves of {n}² samples take; "
            "allow more, or use a larger exit_waves.sampling_angstrom or a smaller field"
        )


def _on_gpu(device: torch.device) -> bool:
    return device.type != "cpu"


def _default_memory(device: torch.device) -> int:
    """Return the memory [bytes] to use where the caller gives none: on a GPU most of what is free."""
    if not _on_gpu(device):
        return MEMORY
    return int(_FREE * free_memory(device))


_band = functools.lru_cache(maxsize=4)(Band)


@functools.lru_cache(maxsize=4)
def _stored(radius: float, device: torch.device) -> Tensor:
    return disc_indices(radius).to(device)
